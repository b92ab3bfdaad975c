import { expect, it } from 'vitest';
import { AutoModelForCausalLM, BitsAndBytesConfig, estimate_memory, get_peft_model, LoraConfig, on } from '../../src/index';
import { tinyLlama } from '../tiny';

const LLAMA_2_7B = {
  model_type: 'llama',
  ...{ vocab_size: 32000, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32 },
  ...{ num_key_value_heads: 32, max_position_embeddings: 4096, rms_norm_eps: 1e-5, tie_word_embeddings: false, dtype: 'float16' },
};
const NF4 = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true };
const total = 6738415616; // parameters, as transformers counts them
const linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008);

it('what a model of 7 billion parameters takes follows from its config, without any of it in memory', async () => {
  const before = process.memoryUsage.rss();
  const warnings: string[] = [];
  const off = on('warning', ({ text }) => warnings.push(text));
  const full = await estimate_memory(LLAMA_2_7B, { lora: null, batch: 1, length: 512 });
  const lora = await estimate_memory(LLAMA_2_7B, { batch: 1, length: 512 });
  const qlora = await estimate_memory(LLAMA_2_7B, {
    quantization: NF4,
    batch: 1,
    length: 512,
    checkpointing: true,
    optimizer: 'paged_adamw_8bit',
  });
  off();
  expect(process.memoryUsage.rss() - before).toBeLessThan(400e6);
  expect(full.parameters).toBe(total);
  expect(full.trained).toBe(total);
  expect(full.parts.weights.expected).toBe(4 * total);
  expect(full.parts.gradients.expected).toBe(4 * total);
  expect(full.parts.optimizer.expected).toBe(8 * total);
  const pairs = 16 * 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008));
  expect(lora.trained).toBe(pairs);
  expect(lora.parts.weights.expected / (2 * total + 4 * pairs)).toBeCloseTo(1, 3);
  const packed = (linear * 33) / 64 + (linear / 64 / 256) * 4;
  expect(qlora.parts.weights.expected / (packed + 2 * (total - linear) + 4 * pairs)).toBeCloseTo(1, 3);
  expect(qlora.parts.optimizer.low).toBe(0);
  expect(qlora.parts.optimizer.expected / (2 * pairs)).toBeCloseTo(1 + 4 / 256, 2);
  expect(qlora.total.expected).toBeLessThan(6.0 * 2 ** 30);
  for (const { low, expected, high } of [...Object.values(lora.parts), ...Object.values(full.parts)]) {
    expect(low).toBeLessThanOrEqual(expected);
    expect(expected).toBeLessThanOrEqual(high);
  }
  expect(full.rules[0]).toBe('1 billion parameters take 4 GB in 32 bits: 26.95 GB for these 6,738,415,616.');
  expect(full.rules[1]).toMatch(/^16 bits take half of that: 13.48 GB; 8 bits a quarter: 6.74 GB; 4 bits an eighth: 3.37 GB/);
  expect(full.fits).toBe(false); // 108 GB
  expect(full.proposals.join()).toMatch(/checkpointing: true.*lora: 16|smaller model/);
  expect(warnings.join('\n')).toMatch(/takes about 1\d\d\.\d+ GB, and .* are available/);
  const html = (full as unknown as Record<symbol, () => Record<string, string>>)[Symbol.for('Jupyter.display')]()['text/html'];
  expect(html).toMatch(/<table>.*weights.*26\.95 GB/);
});

it('a loaded model, its adapter and a folder are asked as a config is', async () => {
  const folder = await tinyLlama(3, { hidden_size: 64, intermediate_size: 128 });
  const fromFiles = await estimate_memory(folder, { lora: 8, batch: 2, length: 64 });
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const loaded = await estimate_memory(model, { lora: 8, batch: 2, length: 64 });
  expect(loaded.parts.weights).toEqual(fromFiles.parts.weights);
  expect(loaded.parts.gradients).toEqual(fromFiles.parts.gradients);
  const peft = get_peft_model(model, new LoraConfig({ r: 8, target_modules: 'all-linear' }));
  const adapted = await estimate_memory(peft, { lora: 8, batch: 2, length: 64 });
  // What the pair keeps of its input was found by trying there, and is added up here.
  expect(adapted.parts.activations.expected / fromFiles.parts.activations.expected).toBeCloseTo(1, 1);
  const packed = await estimate_memory(folder, { lora: 8, quantization: new BitsAndBytesConfig(NF4), batch: 2, length: 64 });
  expect(packed.parts.weights.expected).toBeLessThan(fromFiles.parts.weights.expected);
  model.dispose();
  await expect(estimate_memory(folder, { optimizer: 'adam' })).rejects.toThrow(/optimizer is 'adam'; it can be one of SFTConfig's optim/);
  await expect(estimate_memory(folder, { batch: 0 })).rejects.toThrow(/batch must be a whole number of at least 1/);
  await expect(estimate_memory({ hidden_size: 8 })).rejects.toThrow(/a config with model_type/);
});
