import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { AutoModelForCausalLM, Dataset, get_peft_model, LoraConfig, SFTConfig, SFTTrainer } from '../../src/index';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

it('models, tokenizers, datasets and trainers are printed as what they are to a person, without internals', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
  const text = inspect(model);
  expect(text).toMatch(
    /^LlamaForCausalLM\(\n {2}\(model\): \w+\(\n {4}\(embed_tokens\): Embedding\(\d+, \d+\)\n {4}\(layers\): ModuleList\(/,
  );
  expect(text).toMatch(
    /\n {6}\(0-1\): 2 x \w+\(\n {8}\(self_attn\): \w+\(\n {10}\(q_proj\): Linear\(in_features=\d+, out_features=\d+, bias=False/,
  );
  expect(text).toMatch(/\n {4}\(norm\): RMSNorm\(\(\d+,\), eps=1e-0\d\)\n {2}\)\n {2}\(lm_head\): Linear\(.*\)\n\)$/);
  const tokenizer = tinyTokenizer();
  const rows = Dataset.from_list(Array.from({ length: 8 }, (_, i) => chatRow(`q${i}`, '<b>'.repeat(200))));
  const trainer = new SFTTrainer({
    ...{ model, processing_class: tokenizer, train_dataset: rows, peft_config: new LoraConfig({ r: 4 }) },
    args: new SFTConfig({ output_dir: scratch('out'), max_steps: 5 }),
  });
  expect(inspect(trainer.model)).toMatch(
    /^PeftModel\(\n {2}'default': A LoRA adapter \(r = 4, lora_alpha = 8\), active\n {2}trainable params: [\d,]+ of [\d,]+\n/,
  );
  expect(() => get_peft_model(trainer.model as never, new LoraConfig())).toThrow(/takes a model from/);
  expect(inspect(trainer)).toMatch(/^SFTTrainer\(\{[\s\S]*status: 'not begun',[\s\S]*step: '0 of 5',[\s\S]*train_rows: 8/);
  expect(inspect(tokenizer)).toMatch(/^Tokenizer\(\{[\s\S]*vocab_size: \d+,[\s\S]*special_tokens: \{/);
  expect(inspect(rows)).toBe("Dataset({\n    features: ['messages'],\n    num_rows: 8\n})");
  const shown = (rows as unknown as Record<symbol, () => Record<string, string>>)[Symbol.for('Jupyter.display')]();
  expect(shown['text/html']).toMatch(/^<p>8 rows, of which the first 5:<\/p><table>/);
  expect(shown['text/html']).not.toMatch(/<b>|object Object/);
  expect(shown['text/html'].match(/<tr>/g)).toHaveLength(6);
  for (const value of [model, trainer, tokenizer, rows]) expect(inspect(value)).not.toMatch(/\[Object\]|\[object/);
  trainer.model.unload().dispose();
});
