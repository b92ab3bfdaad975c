import { expect, it } from 'vitest';
import { withPrecision } from '../../src/engine/precision';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, BitsAndBytesConfig, backend, on } from '../../src/index';
import { tinyLlama } from '../tiny';

it('options that contradict or that nobody knows are refused', () => {
  expect(() => new BitsAndBytesConfig({ load_in_4bit: true, load_in_8bit: true })).toThrow(/exclude each other/);
  expect(() => new BitsAndBytesConfig({ bnb_4bit_compute_dtype: 'int8' })).toThrow(
    /bnb_4bit_compute_dtype is 'int8'; it can be 'float32', 'bfloat16' or/,
  );
  expect(() => new BitsAndBytesConfig({ bnb_4bit_quant_storage: 'int4' })).toThrow(/bnb_4bit_quant_storage is 'int4'/);
  expect(() => new BitsAndBytesConfig({ llm_int8_threshold: -1 })).toThrow(/llm_int8_threshold must be a number of at least 0/);
  expect(() => new BitsAndBytesConfig({ llm_int8_skip_modules: 'lm_head' as never })).toThrow(
    /llm_int8_skip_modules is 'lm_head'; it can be a list/,
  );
  expect(() => new BitsAndBytesConfig({ llm_int8_has_fp16_weight: true })).toThrow(/Leave load_in_8bit out/);
  expect(() => BitsAndBytesConfig.fromJson({ quant_method: 'gptq', bits: 4 }, 'x')).toThrow(/gptq.*bitsandbytes.*16-bit files/);
  expect(() => new BitsAndBytesConfig({ bnb_4bit_quant_type: 'int4' })).toThrow(/bnb_4bit_quant_type is 'int4'; it can be 'nf4' or 'fp4'/);
  expect(() => new BitsAndBytesConfig({ bnb_4bit_quant_typ: 'nf4' })).toThrow(/Did you mean bnb_4bit_quant_type\?/);
});

it('packs linear layers, but not the embedding, the output matrix or what is skipped', () => {
  const config = new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4', llm_int8_skip_modules: ['down_proj'] });
  const format = (name: string) => config.formatOf(name)?.name;
  expect(format('model.layers.3.mlp.up_proj.weight')).toBe('NF4');
  for (const kept of ['model.embed_tokens.weight', 'lm_head.weight', 'model.layers.0.mlp.down_proj.weight'])
    expect(format(kept)).toBeUndefined();
  expect(new BitsAndBytesConfig().formatOf('model.layers.0.mlp.up_proj.weight')).toBeUndefined();
  expect(new BitsAndBytesConfig({ load_in_8bit: true }).formatOf('model.layers.0.mlp.up_proj.weight')?.name).toBe('INT8');
});

it('a loaded model takes the bytes of its packing; what cannot be packed stays, with a warning', async () => {
  const warnings: string[] = [];
  const off = on('warning', ({ text }) => warnings.push(text));
  const folder = await tinyLlama(3, { hidden_size: 64, intermediate_size: 128 });
  const bytes = async (options: Record<string, unknown>, path = folder) => {
    const model = await AutoModelForCausalLM.from_pretrained(path, { progress: false, ...options });
    const total = model.weightBytes();
    model.dispose();
    return total;
  };
  const plain = await bytes({});
  const linear = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128); // values of the linear layers of both blocks
  const quantization_config = new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' });
  expect(plain - (await bytes({ quantization_config }))).toBe(linear * 4 - (linear / 64) * 36);
  // Scales in 8 bits, with one magnitude for 256 of them and an offset for each matrix.
  const sizes = [64 * 64, 32 * 64, 32 * 64, 64 * 64, 128 * 64, 128 * 64, 64 * 128];
  const nested = 2 * sizes.reduce((sum, size) => sum + Math.ceil(((size / 64) * 33) / 4) * 4 + 4 + 4 * Math.ceil(size / 64 / 256), 0);
  const double = new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true });
  expect(plain - (await bytes({ quantization_config: double }))).toBe(linear * 4 - nested);
  expect(warnings).toEqual([]);
  // an older tutorial's spelling; 32 and 48 columns are no multiple of a block
  const odd = await tinyLlama(4);
  expect(await bytes({ load_in_4bit: true }, odd)).toBe(await bytes({}, odd));
  off();
  const said = warnings.join('\n');
  expect(said).toMatch(/load_in_4bit is now called quantization_config/);
  expect(said).toMatch(/packs 64 values along a row; matrices with 32 columns stay F32/);
});

it('bnb_4bit_compute_dtype says what products with packed matrices are made in', async () => {
  const folder = await tinyLlama(3, { hidden_size: 64, intermediate_size: 128 });
  const logits = async (compute: 'float32' | 'bfloat16' | null) => {
    const options = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' as const, bnb_4bit_compute_dtype: compute };
    const model = await AutoModelForCausalLM.from_pretrained(folder, {
      progress: false,
      quantization_config: new BitsAndBytesConfig(options),
    });
    const forward = () =>
      tf.tidy(
        () =>
          model
            .forward(tf.tensor2d([[1, 2, 3, 4, 5, 6, 7, 8]], [1, 8], 'int32'))
            .dataSync()
            .slice() as Float32Array,
      );
    const found = [forward(), withPrecision('bf16', forward)];
    model.dispose();
    return found;
  };
  if (!backend().bf16) return; // elsewhere bf16 is rounding alone, and the same
  const distance = (a: Float32Array, b: Float32Array) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
  const [plain, fp32, bf16] = [await logits(null), await logits('float32'), await logits('bfloat16')];
  expect(distance(plain[0], fp32[0])).toBe(0);
  // In bf16 around them, matrices of fp32 are nearer to fp32; and in fp32 around them those of bf16 further away.
  expect(distance(fp32[1], plain[0])).toBeLessThan(0.5 * distance(plain[1], plain[0]));
  expect(distance(bf16[0], plain[0])).toBeGreaterThan(0.2 * distance(plain[1], plain[0]));
});
