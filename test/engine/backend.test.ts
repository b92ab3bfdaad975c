import { beforeAll, expect, it } from 'vitest';
import { MemoryError } from '../../src/core/errors';
import { execute, Handle, plainError } from '../../src/engine/backend';
import { attention } from '../../src/engine/ops/attention';
import { embedding } from '../../src/engine/ops/embedding';
import { rmsNorm } from '../../src/engine/ops/rms_norm';
import { swiglu } from '../../src/engine/ops/swiglu';
import * as tf from '../../src/engine/tf';
import { Weight } from '../../src/engine/weights';
import { f32, q4_1 } from '../../src/quantize';
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
it('native bytes are counted', () => {
  const before = Handle.nativeBytes;
  const handle = Handle.create(new Uint8Array(100));
  expect(Handle.nativeBytes).toBe(before + 100);
  handle.dispose();
  handle.dispose();
  expect(Handle.nativeBytes).toBe(before);
  expect(() => handle.tensorId).toThrow(/disposed/);
});
