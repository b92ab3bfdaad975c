import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startBackend } from '../../src/engine/backend';
import { MatrixWriter } from '../../src/engine/matrix_writer';
import { int8Inputs, int8InputsReference } from '../../src/engine/ops/int8_inputs';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, BitsAndBytesConfig } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { f32, fp4, fp4_dq, int8, nf4, nf4_dq, weightFormats } from '../../src/quantize';
import { packedTensors } from '../../src/quantize/bitsandbytes';
import { LEVELS } from '../../src/quantize/four_bit';
import { libggml } from '../llama';
import { peer } from '../peer';
import { scratch } from '../tiny';

const COLUMNS = 320;

/** Values whose fp16 is exact, since bitsandbytes takes int8 from fp16. */
function matrix(kind: string): Float32Array {
  const plain = tf.tidy(() =>
    tf
      .randomNormal([40 * COLUMNS], 0, 0.05, 'float32', 5)
      .dataSync()
      .slice(),
  ) as Float32Array;
  const rounded = plain.map((x) => Math.round(x * 2048) / 2048);
  if (kind === 'outliers') for (let i = 0; i < rounded.length; i += 97) rounded[i] *= 16;
  if (kind === 'zeros') rounded.fill(0, 0, 2 * COLUMNS);
  return rounded;
}

type Packed = Record<string, string>;
const hex = (bytes: Uint8Array | Float32Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

/** Matrices of every sort: what they are, their values and columns. */
function matrices(): Record<string, { values: Float32Array; columns: number }> {
  const plain = ['plain', 'outliers', 'zeros'].map((kind) => [kind, { values: matrix(kind), columns: COLUMNS }] as const);
  const middles = (levels: Float32Array) => {
    const sorted = levels.toSorted();
    return Array.from(sorted.slice(1), (level, i) => (level + sorted[i]) / 2);
  };
  const row = (values: number[]) => [1, ...values, ...Array(63 - values.length).fill(0)];
  const scaled = (by: number) => Object.values(LEVELS).flatMap((levels) => row(middles(levels)).map((x) => x * by));
  const many = tf.tidy(() =>
    tf
      .randomNormal([1200 * 576], 0, 0.02, 'float32', 11)
      .dataSync()
      .slice(),
  ) as Float32Array;
  return {
    ...Object.fromEntries(plain),
    constant: { values: new Float32Array(128 * 64).fill(0.25), columns: 64 },
    'all zeros': { values: new Float32Array(16 * 64), columns: 64 },
    // Exactly on the middle of two codes, where rounding decides; and values next to nothing.
    ties: { values: Float32Array.from([1, 0.5, 3, 1e-3, 1e-30].flatMap(scaled)), columns: 64 },
    tiny: { values: Float32Array.from({ length: 8 * 64 }, (_, i) => (i - 200) * 1e-40), columns: 64 },
    many: { values: many, columns: 576 },
    one: { values: Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)), columns: 64 },
  };
}

it('codes, scales and statistics of scales are those of bitsandbytes to the bit, natively and in JavaScript', async () => {
  await startBackend();
  const folder = scratch('quantized');
  const all = matrices();
  const files = Object.fromEntries(
    Object.entries(all).map(([name, { values, columns }]) => {
      const file = join(folder, `${name}.bin`);
      writeFileSync(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      return [name, [file, 'float32', columns]];
    }),
  );
  const theirs = peer<Record<string, Record<string, Packed>>>('codes', { matrices: files }, 'peer_quantize.py');
  const kinds = { nf4, fp4, nf4_dq, fp4_dq, int8 };
  for (const [name, { values, columns }] of Object.entries(all))
    for (const [kind, format] of Object.entries(kinds)) {
      const what = `${kind} of ${name}`;
      const shape: [number, number] = [values.length / columns, columns];
      const writer = new MatrixWriter(format, shape);
      const few = Math.max(1, Math.floor(shape[0] / 3)) * columns;
      for (let at = 0; at < values.length; at += few) writer.add(f32.encode?.(values.slice(at, at + few), columns) as Uint8Array, f32);
      const weight = writer.finish();
      const expected = theirs[name][kind];
      const saved = packedTensors('m.weight', weight);
      const part = (name: string) => hex((saved.get(name) as { bytes: Uint8Array }).bytes);
      expect(part('m.weight'), what).toBe(expected.bytes);
      if (kind === 'int8') expect(part('m.SCB'), what).toBe(expected.absmax);
      else {
        expect(part('m.weight.absmax'), `${what}: scales`).toBe(expected.absmax);
        const values = weight.dequantize();
        // FP4's smallest level is another last bit in its kernel, and numbers near 0 are 0 while an op of ours runs.
        const theirs = new Float32Array(Uint8Array.from(Buffer.from(expected.values, 'hex')).buffer);
        const found = values.dataSync() as Float32Array;
        const off = found.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i])), 0);
        expect(off, `${what}: values`).toBeLessThanOrEqual(kind.startsWith('fp4') ? 1e-8 : 1e-37);
        values.dispose();
      }
      if (expected.nested_absmax) {
        expect(part('m.weight.nested_absmax'), `${what}: magnitudes`).toBe(expected.nested_absmax);
        expect(part('m.weight.nested_quant_map'), `${what}: map`).toBe(expected.map);
        const state = JSON.parse(Buffer.from(part(`m.weight.quant_state.bitsandbytes__${kind.slice(0, 3)}`), 'hex').toString());
        expect(hex(Float32Array.of(state.nested_offset)), `${what}: offset`).toBe(expected.offset);
      }
      const packed = weight.packed();
      expect(hex(format.encode?.(values, columns) as Uint8Array), `${what}: in JavaScript`).toBe(hex(packed));
      const again = weight.dequantize();
      if (name !== 'tiny')
        expect(format.decode(packed, values.length, columns), `${what}: unpacked in JavaScript`).toEqual(again.dataSync());
      again.dispose();
      weight.dispose();
    }
});

const IDS = [
  [3, 1, 4, 1, 5, 9],
  [2, 7, 1, 8, 2, 8],
];
const CHECKPOINTS = {
  nf4: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' },
  fp4: { load_in_4bit: true, bnb_4bit_quant_storage: 'bfloat16' },
  'nf4, double': { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true, bnb_4bit_quant_storage: 'float32' },
  'fp4, double': { load_in_4bit: true, bnb_4bit_use_double_quant: true },
  int8: { load_in_8bit: true },
  'int8, no threshold, one module as it is': { load_in_8bit: true, llm_int8_threshold: 0, llm_int8_skip_modules: ['lm_head', 'down_proj'] },
};

it('packed models are read as bitsandbytes saves them, and saved as it reads them', async () => {
  const folder = scratch('checkpoints');
  const config = {
    model_type: 'llama',
    ...{ hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 128, vocab_size: 50 },
  };
  const model = join(folder, 'model');
  const [plain] = peer<number[][]>('tiny', { cases: [{ seed: 5, config, ids: IDS, folder: model }] });
  const names = Object.keys(CHECKPOINTS);
  const cases = Object.entries(CHECKPOINTS).map(([name, config]) => ({ config, folder: join(folder, name) }));
  const theirs = peer<number[][]>('written', { model, cases, ids: IDS }, 'peer_quantize.py');
  const difference = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  const mean = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + Math.abs(x - b[i]), 0) / a.length;
  const logits = (model: CausalLM) => tf.tidy(() => model.forward(tf.tensor2d(IDS, [2, 6], 'int32')).dataSync() as Float32Array);
  const ours: Float32Array[] = [];
  for (const [i, { config, folder: saved }] of cases.entries()) {
    // What they saved, and what is packed here: the same model.
    const read = await AutoModelForCausalLM.from_pretrained(saved, { progress: false });
    const packed = await AutoModelForCausalLM.from_pretrained(model, {
      progress: false,
      quantization_config: new BitsAndBytesConfig(config),
    });
    // Inputs of 8 bits fall to the one side or the other of a half by the last bit of a float.
    const rounds = 'load_in_8bit' in config;
    const near = rounds ? 0.5 * difference(theirs[i], plain) : 1e-4;
    expect(difference(logits(read), theirs[i]), `${names[i]}, read`).toBeLessThan(near);
    if (rounds) expect(mean(logits(read), theirs[i]), `${names[i]}, read`).toBeLessThan(0.25 * mean(theirs[i], plain));
    expect(difference(logits(packed), logits(read)), `${names[i]}, packed`).toBe(0);
    expect(difference(theirs[i], plain), `${names[i]} is not the unpacked model`).toBeGreaterThan(1e-3);
    expect(read.weightBytes(), names[i]).toBe(packed.weightBytes());
    ours.push(logits(packed));
    await packed.save_pretrained(`${saved}, ours`);
    for (const one of [read, packed]) one.dispose();
  }
  const folders = cases.map(({ folder: saved }) => `${saved}, ours`);
  const opened = peer<{ logits: number[]; wrong: object; kinds: Record<string, string> }[]>(
    'opened',
    { folders, ids: IDS },
    'peer_quantize.py',
  );
  for (const [i, { logits: found, wrong, kinds }] of opened.entries()) {
    expect(wrong, names[i]).toEqual({});
    expect(mean(found, ours[i]), `${names[i]}, opened there`).toBeLessThan(
      names[i].startsWith('int8') ? 0.25 * mean(ours[i], plain) : 1e-5,
    );
    expect(kinds.lm_head, names[i]).toBe('Linear');
    expect(kinds['model.layers.0.self_attn.q_proj'], names[i]).toBe(names[i].startsWith('int8') ? 'Linear8bitLt' : 'Linear4bit');
  }
});

it("a layer's input is in 8 bits as LLM.int8() has it, with columns of outliers as they are", async () => {
  await startBackend();
  const x = Array.from({ length: 5 }, (_, r) =>
    Array.from({ length: 48 }, (_, k) => Math.sin(r * 48 + k) * (k % 17 === 3 ? 7 : 2) * (r === 2 ? 0 : 1)),
  );
  const cases = [0, 6, 100].map((threshold) => ({ x, threshold }));
  const theirs = peer<number[][]>('int8_inputs', { cases }, 'peer_quantize.py');
  for (const [i, { threshold }] of cases.entries()) {
    const tensor = tf.tensor2d(x);
    const worst = (y: tf.Tensor) => Array.from(y.dataSync()).reduce((most, v, j) => Math.max(most, Math.abs(v - theirs[i][j])), 0);
    expect(worst(int8Inputs(tensor, threshold)), `threshold ${threshold}`).toBeLessThan(1e-6);
    expect(worst(int8InputsReference(tensor, threshold)), `threshold ${threshold}, in JavaScript`).toBeLessThan(1e-6);
  }
});

it("GGUF's kinds are packed and unpacked to the bytes and values of its own package", () => {
  const folder = scratch('gguf-kinds');
  const kinds = weightFormats.filter(({ code }) => code > 0 && code < 1000); // GGUF's numbers but plain fp32
  const matrices: Record<string, Float32Array> = Object.fromEntries(['plain', 'outliers', 'zeros'].map((name) => [name, matrix(name)]));
  matrices.wide = Float32Array.from({ length: 10 * 256 }, (_, i) => Math.sin(i * i) * 10 ** ((i % 11) - 7));
  matrices.ties = Float32Array.from({ length: 10 * 256 }, (_, i) => ((i * 7) % 31) - 15); // halves between two codes
  const files = Object.fromEntries(Object.keys(matrices).map((name) => [name, join(folder, `${name}.bin`)]));
  for (const name in matrices) writeFileSync(files[name], new Uint8Array(matrices[name].buffer));
  const theirs = peer<Record<string, Record<string, { bytes: string; values: number[] }>>>('gguf_packed', {
    matrices: files,
    columns: 256,
    ggml: libggml(),
    kinds: kinds.map(({ name }) => name),
  });
  for (const name in matrices)
    for (const { name: kind, encode, decode } of kinds) {
      const expected = theirs[name][kind];
      const bytes = Buffer.from(expected.bytes, 'hex');
      if (encode) expect(Buffer.from(encode(matrices[name], 256)).toString('hex'), `${kind} of ${name}`).toBe(expected.bytes);
      expect(Array.from(decode(bytes, matrices[name].length, 256)), `${kind} of ${name}`).toEqual(expected.values);
    }
});
