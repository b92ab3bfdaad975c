import { expect, it } from 'vitest';
import { AutoModelForCausalLM, BitsAndBytesConfig, on } from '../../src/index';
import { tinyLlama } from '../tiny';

it('options that contradict or that nobody knows are refused', () => {
  expect(() => new BitsAndBytesConfig({ load_in_4bit: true, load_in_8bit: true })).toThrow(/exclude each other/);
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
  expect(warnings).toEqual([]);
  // an older tutorial's spelling; 32 and 48 columns are no multiple of a block
  const odd = await tinyLlama(4);
  expect(await bytes({ load_in_4bit: true }, odd)).toBe(await bytes({}, odd));
  off();
  const said = warnings.join('\n');
  expect(said).toMatch(/load_in_4bit is now called quantization_config/);
  expect(said).toMatch(/packs 64 values along a row; matrices with 32 columns stay F32/);
});
