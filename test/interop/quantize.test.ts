import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startBackend } from '../../src/engine/backend';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, BitsAndBytesConfig } from '../../src/index';
import { weightFormats } from '../../src/quantize';
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

it('NF4, FP4, double quantisation and int8 agree with bitsandbytes', async () => {
  await startBackend();
  const folder = scratch('quantized');
  const ids = [
    [3, 1, 4, 1, 5, 9],
    [2, 7, 1, 8, 2, 8],
  ];
  const config = {
    model_type: 'llama',
    hidden_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 128,
    vocab_size: 50,
  };
  const model = join(folder, 'model');
  const [plain] = peer<number[][]>('tiny', { cases: [{ seed: 5, config, ids, folder: model }] });
  const kinds = ['plain', 'outliers', 'zeros'];
  const matrices = Object.fromEntries(kinds.map((kind) => [kind, join(folder, `${kind}.bin`)]));
  for (const kind of kinds) writeFileSync(matrices[kind], new Uint8Array(matrix(kind).buffer));
  const theirs = peer<{ matrices: Record<string, Record<string, number[]>>; logits: Record<string, number[]> }>('quantized', {
    matrices,
    columns: COLUMNS,
    model,
    ids,
  });

  for (const [name, options] of Object.entries({
    nf4: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' },
    fp4: { load_in_4bit: true },
    'nf4, double': { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true },
    int8: { load_in_8bit: true },
  })) {
    const how = new BitsAndBytesConfig(options);
    const format = how.formatOf('model.layers.0.mlp.up_proj.weight');
    if (!format) throw new Error(`${name} packs nothing`);
    for (const kind of kinds) {
      const values = matrix(kind);
      const made = format.decode(how.pack(format, values, COLUMNS), values.length, COLUMNS);
      const expected = theirs.matrices[kind][name];
      const worst = made.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i])), 0);
      if (name !== 'nf4, double') expect(worst, `${name} of ${kind}`).toBeLessThanOrEqual(2e-8);
      else {
        // bitsandbytes looks a scale's 8-bit code up in bins and now and then takes the second nearest; ours is the nearest.
        const off = made.filter((value, i) => Math.abs(value - expected[i]) > 1e-6).length;
        expect(off / made.length, `${name} of ${kind}`).toBeLessThan(0.05);
        const error = (quantized: ArrayLike<number>) => Math.sqrt(values.reduce((sum, value, i) => sum + (value - quantized[i]) ** 2, 0));
        expect(error(made), `${name} of ${kind}`).toBeLessThan(1.001 * error(expected));
      }
    }
  }

  for (const kind of ['nf4', 'fp4']) {
    const quantization_config = new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: kind });
    const ours = await AutoModelForCausalLM.from_pretrained(model, { progress: false, quantization_config });
    const logits = tf.tidy(() => ours.forward(tf.tensor2d(ids, [2, 6], 'int32')).dataSync() as Float32Array);
    const difference = (expected: number[]) => logits.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i])), 0);
    expect(difference(theirs.logits[kind]), kind).toBeLessThan(1e-4);
    expect(difference(plain), `${kind} is not the unpacked model`).toBeGreaterThan(1e-3);
    ours.dispose();
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
