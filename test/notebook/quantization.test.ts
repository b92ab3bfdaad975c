import { expect, it } from 'vitest';
import { AutoModelForCausalLM, BitsAndBytesConfig, inspect_quantization } from '../../src/index';
import { nf4 } from '../../src/quantize';
import { QUANTIZATION_MIME } from '../../views';
import { parseQuantization } from '../../views/src';
import { tinyLlama } from '../tiny';

const SIZES = { hidden_size: 64, intermediate_size: 128 };

it('says what packing changes in each matrix, as a table and a picture too', async () => {
  const folder = await tinyLlama(3, SIZES);
  const report = await inspect_quantization(folder, { quantization: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' } });
  expect(report.modules.length).toBe(14);
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  for (const { name, error, largest, histogram } of report.modules) {
    const matrix = [...model.namedTensors()].find(([path]) => path === `${name}.weight`)?.[1] as unknown as {
      dequantize(): { dataSync(): Float32Array };
      shape: [number, number];
    };
    const w = Float32Array.from(matrix.dequantize().dataSync());
    const q = nf4.decode(nf4.encode?.(w, matrix.shape[1]) as Uint8Array, w.length);
    const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
    expect(error, name).toBeCloseTo(norm(w.map((x, i) => x - q[i])) / norm(w), 5);
    expect(largest, name).toBeCloseTo(Math.max(...w.map((x, i) => Math.abs(x - q[i]))), 6);
    expect(
      histogram.reduce((sum, n) => sum + n, 0),
      name,
    ).toBe(w.length);
    // Every block has a value at one of the ends.
    expect(histogram[0] + (histogram.at(-1) as number), name).toBeGreaterThanOrEqual(w.length / 64);
  }
  model.dispose();
  const bundle = report.bundle();
  expect(parseQuantization(JSON.parse(JSON.stringify(bundle[QUANTIZATION_MIME])))).toMatchObject({ format: 'nf4', levels: { length: 16 } });
  expect(
    Buffer.from(bundle['image/png'] as string, 'base64')
      .subarray(1, 4)
      .toString(),
  ).toBe('PNG');
  expect(bundle['text/html']).toMatch(/<table>.*mean error/);
  expect(bundle['text/plain']).toMatch(/Quantisation of .*\n(.*\n)*bits a value: 4.5/);
});

it('a loaded model says how it is packed; what is packed in its files already is refused with the remedy', async () => {
  const folder = await tinyLlama(3, SIZES);
  const quantization_config = new BitsAndBytesConfig({ load_in_8bit: true });
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false, quantization_config });
  const report = await inspect_quantization(model);
  expect(report.data).toMatchObject({ format: 'int8', levels: [] });
  expect(report.modules.every(({ error }) => error < 0.01)).toBe(true);
  await model.save_pretrained(`${folder}-packed`);
  model.dispose();
  await expect(inspect_quantization(`${folder}-packed`)).rejects.toThrow(/packed in its files already.*16-bit files/);
  // What has rows of another length stays as it is, and is told.
  const some = await inspect_quantization(await tinyLlama(3, { hidden_size: 64, intermediate_size: 96 }));
  expect(some.modules.length).toBe(12);
  expect(some.data.notes).toEqual([
    expect.stringMatching(/packs 64 values along a row; matrices with 96 columns stay as they are \(2 of 14\)/),
  ]);
  await expect(inspect_quantization(await tinyLlama(3))).rejects.toThrow(
    /nothing of .* would be packed. .* with 32, 48 columns .*load_in_8bit/,
  );
  await expect(inspect_quantization(folder, { quantization: {} })).rejects.toThrow(/packs nothing. Set load_in_4bit/);
});
