import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, BitsAndBytesConfig, get_peft_model, LoraConfig, on } from '../../src/index';
import { Parameter } from '../../src/nn';
import { scratch, tinyLlama } from '../tiny';

const NF4 = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' as const, bnb_4bit_use_double_quant: true };
const IDS = [[5, 9, 2, 77, 130, 8]];

it('merging into a packed base keeps 16 bits and tells the drift; in 4 bits only where that is asked for', async () => {
  const folder = await tinyLlama(3, { hidden_size: 64, intermediate_size: 128 });
  const merged = async (options: object) => {
    const texts: string[] = [];
    const off = on('progress', ({ text }) => texts.push(text));
    const base = await AutoModelForCausalLM.from_pretrained(folder, { progress: false, quantization_config: new BitsAndBytesConfig(NF4) });
    const model = get_peft_model(base, new LoraConfig({ r: 4, target_modules: ['q_proj', 'down_proj'] }));
    for (const [name, parameter] of model.namedParameters())
      if (name.includes('lora_B')) parameter.assign(tf.keep(tf.randomNormal(parameter.shape, 0, 0.05, 'float32', 3)));
    const logits = () =>
      tf.tidy(() =>
        base
          .forward(tf.tensor2d(IDS, [1, 6], 'int32'))
          .dataSync()
          .slice(),
      ) as Float32Array;
    const before = logits();
    const result = await model.merge_and_unload(options);
    off();
    const after = logits();
    const formats = new Map([...result.namedTensors()].map(([name, t]) => [name, t instanceof Parameter ? 'tensor' : t.format.name]));
    const drift = before.reduce((most, x, i) => Math.max(most, Math.abs(x - after[i])), 0);
    return { result, after, drift, format: (name: string) => formats.get(`model.layers.0.${name}.weight`), said: texts.join('\n') };
  };
  const plain = await merged({});
  expect([plain.format('self_attn.q_proj'), plain.format('mlp.down_proj'), plain.format('mlp.up_proj')]).toEqual([
    'BF16',
    'BF16',
    'NF4_DQ',
  ]);
  expect(plain.said).toMatch(/Merged in bfloat16: the logits .* moved by [\d.e-]+ at most/);
  const packed = await merged({ quantization_config: new BitsAndBytesConfig(NF4) });
  expect([packed.format('self_attn.q_proj'), packed.format('mlp.down_proj')]).toEqual(['NF4_DQ', 'NF4_DQ']);
  expect(packed.said).toMatch(/Merged and packed as nf4 again: the logits .* moved by [\d.e-]+ at most/);
  expect(packed.drift).toBeGreaterThan(5 * plain.drift);
  await expect(merged({ dtype: 'nf4' })).rejects.toThrow(/bfloat16' or 'float32', not in 'nf4'; for fewer bits give quantization_config/);

  // Saved with some matrices packed and some not, it comes back as it was.
  const saved = scratch('merged');
  await plain.result.save_pretrained(saved);
  const again = await AutoModelForCausalLM.from_pretrained(saved, { progress: false });
  const found = tf.tidy(() => again.forward(tf.tensor2d(IDS, [1, 6], 'int32')).dataSync()) as Float32Array;
  expect(found.reduce((most, x, i) => Math.max(most, Math.abs(x - plain.after[i])), 0)).toBeLessThan(1e-6);
  for (const { result } of [plain, packed]) result.dispose();
  again.dispose();
});
