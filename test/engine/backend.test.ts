import { beforeAll, expect, it, vi } from 'vitest';
import { MemoryError } from '../../src/core/errors';
import { execute, Handle, replaceExecuteOp } from '../../src/engine/backend';
import { attention } from '../../src/engine/ops/attention';
import { embedding } from '../../src/engine/ops/embedding';
import { rmsNorm } from '../../src/engine/ops/rms_norm';
import { swiglu } from '../../src/engine/ops/swiglu';
import { plainError, remedied, sparing } from '../../src/engine/plain_error';
import * as tf from '../../src/engine/tf';
import { Weight } from '../../src/engine/weights';
import { AutoModelForCausalLM, evaluate, get_peft_model, LoraConfig } from '../../src/index';
import { f32, q4_1 } from '../../src/quantize';
import { chatRow, tinyLlama, tinyTokenizer } from '../tiny';
import { randomWeight, startNative } from './check_op';

beforeAll(startNative);

it('errors of ops name the shapes', () => {
  expect(() => rmsNorm({ x: tf.zeros([2, 3]), weight: tf.zeros([4]) }, { eps: 1 })).toThrow(/\[2,3\].*\[4\]/);
  expect(() => attention({ qkv: tf.zeros([1, 5, 3, 2]) }, { heads: 1, groups: 1, scale: 1, lengths: [2, 4] })).toThrow(/2 \+ 4 .*5 tokens/);
  expect(() => swiglu({ gate: tf.zeros([2]), up: tf.zeros([3]) }, {})).toThrow(/\[2\].*\[3\]/);
  expect(() => new Weight(q4_1, [2, 40], new Uint8Array(50))).toThrow(/32 values along a row/);
  expect(() => new Weight(q4_1, [2, 64], new Uint8Array(50))).toThrow(/80 bytes, but 50/);
});
it('errors come out of native code as exceptions', () => {
  const table = randomWeight(f32, 5, 8);
  expect(() => embedding(tf.tensor1d([5], 'int32'), table)).toThrow(/token id 5 is not in \[0, 5\)/);
  const wrong = { kind: f32.code, rows: 5, dim: 9 };
  expect(() => execute('TunebookEmbedding', [tf.tensor1d([1], 'int32'), table.handle!], wrong, 1)).toThrow(/160 bytes is not \[5, 9\]/);
  table.dispose();
});
it('errors say what takes less where memory is short', () => {
  const raw = new Error('Invalid TF_Status: 8\nMessage: an op asked for 12345 MiB, which the system does not give');
  const error = plainError(raw);
  expect(error).toBeInstanceOf(MemoryError);
  expect(error.message).toMatch(/^Out of memory: an op asked for 12345 MiB.*smaller per_device_train_batch_size/);
  expect(plainError(new RangeError('Array buffer allocation failed')).message).toMatch(
    /^Out of memory: Array buffer allocation failed\. What takes less/,
  );
  expect(plainError(new Error('something else')).message).toBe('something else');
});
it.each([
  ['loading', /What takes less: matrices packed while they are loaded/],
  ['generating', /What takes less: fewer rows at once \(batch_size\), a smaller max_new_tokens/],
  ['serving', /What takes less: a smaller max_tokens/],
  ['merging', /What takes less: dtype: 'bfloat16'/],
  ['evaluating', /What takes less: a smaller per_device_eval_batch_size/],
] as const)('what takes less is said for what memory is short for: %s', async (doing, message) => {
  const raw = new Error('Invalid TF_Status: 8\nMessage: an op asked for 12345 MiB');
  const short = Object.assign(new Error('Failed to allocate memory'), { code: 'ERR_MEMORY_ALLOCATION_FAILED' });
  for (const error of [raw, plainError(raw), new RangeError('Array buffer allocation failed'), short]) {
    const told = remedied(error, doing) as Error;
    expect(told).toBeInstanceOf(MemoryError);
    expect(told.message).toMatch(message);
    expect(told.message).toMatch(/^Out of memory: (an op asked for 12345 MiB|Array buffer allocation failed|Failed to allocate memory)\. /);
    expect(told.message).not.toContain('per_device_train_batch_size');
    // What the inner one has said stays.
    const within = () => sparing('merging', () => sparing(doing, () => Promise.reject(error)));
    await expect(within()).rejects.toThrow(message);
    expect(plainError(told)).toBe(told);
  }
  const other = new RangeError('Invalid string length');
  expect(remedied(other, doing)).toBe(other);
});
it('loading, generating, merging and evaluating say it', async () => {
  const folder = await tinyLlama(3);
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const peft = get_peft_model(model, new LoraConfig({ r: 2 }));
  const rows = [chatRow('a', 'b')];
  const cases: [() => Promise<unknown>, RegExp][] = [
    [() => model.generate([1, 2], { max_new_tokens: 2 }), /fewer rows at once/],
    [() => model.generate([1, 2], { max_new_tokens: 2, num_beams: 2 }), /fewer rows at once/],
    [() => peft.merge_adapter(), /packed again/],
    [() => peft.merge_and_unload(), /packed again/],
    [() => evaluate(model, rows, { tokenizer: tinyTokenizer() }), /per_device_eval_batch_size/],
  ];
  for (const [f, message] of cases) {
    const restore = replaceExecuteOp(() => () => {
      throw new RangeError('Array buffer allocation failed');
    });
    await expect(f().finally(restore)).rejects.toThrow(message);
  }
  const create = vi.spyOn(Handle, 'holding').mockImplementation(() => {
    throw new RangeError('Array buffer allocation failed');
  });
  const tensors = vi.spyOn(Handle, 'create').mockImplementation(Handle.holding as never);
  await expect(AutoModelForCausalLM.from_pretrained(folder, { progress: false })).rejects.toThrow(/matrices packed while they are loaded/);
  create.mockRestore();
  tensors.mockRestore();
  expect(await model.generate([1, 2], { max_new_tokens: 2 })).toHaveLength(2);
});
it('native bytes are counted', () => {
  const before = Handle.nativeBytes;
  const handle = Handle.create(new Uint8Array(100));
  expect(Handle.nativeBytes).toBe(before + 100);
  handle.dispose();
  handle.dispose();
  expect(Handle.nativeBytes).toBe(before);
  expect(() => handle.tensorId).toThrow(/disposed/);
});
