import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import {
  AutoModelForCausalLM,
  BitsAndBytesConfig,
  Dataset,
  evaluate,
  GenerationConfig,
  get_peft_model,
  LoraConfig,
  load_dataset,
  pipeline,
  SFTConfig,
  SFTTrainer,
  TrainingArguments,
} from '../../src/index';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const shown = (value: unknown) => (value as Record<symbol, () => Record<string, string>>)[Symbol.for('Jupyter.display')]();

it('models, tokenizers, datasets and trainers are printed as what they are to a person, without internals', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
  const text = inspect(model);
  expect(text).toMatch(
    /^LlamaForCausalLM\(\n {2}\(model\): \w+\(\n {4}\(embed_tokens\): Embedding\(\d+, \d+, padding_idx=\d+\)\n {4}\(layers\): ModuleList\(/,
  );
  expect(text).toMatch(
    /\n {6}\(0-1\): 2 x \w+\(\n {8}\(self_attn\): \w+\(\n {10}\(q_proj\): Linear\(in_features=\d+, out_features=\d+, bias=False/,
  );
  expect(text).toMatch(
    /\n {4}\(norm\): LlamaRMSNorm\(\(\d+,\), eps=1e-0\d\)\n {4}\(rotary_emb\): LlamaRotaryEmbedding\(\)\n {2}\)\n {2}\(lm_head\): Linear\(.*\)\n\)$/,
  );
  const tokenizer = tinyTokenizer();
  const rows = Dataset.from_list(Array.from({ length: 8 }, (_, i) => chatRow(`q${i}`, '<b>'.repeat(110))));
  const trainer = new SFTTrainer({
    ...{ model, processing_class: tokenizer, train_dataset: rows, peft_config: new LoraConfig({ r: 4 }) },
    args: new SFTConfig({ output_dir: scratch('out'), max_steps: 5 }),
  });
  expect(inspect(trainer.model)).toMatch(
    /^PeftModelForCausalLM\(\n {2}\(base_model\): LoraModel\(\n {4}\(model\): LlamaForCausalLM\([\s\S]*\(q_proj\): lora\.Linear\(/,
  );
  expect(shown(trainer.model)['text/html']).toMatch(
    /^<p>'default': A LoRA adapter \(r = 4, lora_alpha = 8\), active\. trainable params: [\d,]+ \|\| all params: [\d,]+ \|\| trainable%: \d\.\d{4}<\/p><pre>PeftModelForCausalLM\(/,
  );
  expect(() => get_peft_model(trainer.model as never, new LoraConfig())).toThrow(/takes a model from/);
  expect(inspect(trainer)).toMatch(/^SFTTrainer\(\{[\s\S]*status: 'not begun',[\s\S]*step: '0 of 5',[\s\S]*train_rows: 8/);
  expect(inspect(tokenizer)).toMatch(/^Tokenizer\(\{[\s\S]*vocab_size: \d+,[\s\S]*special_tokens: \{/);
  expect(inspect(rows)).toBe("Dataset({\n    features: ['messages'],\n    num_rows: 8\n})");
  const table = shown(rows)['text/html'];
  expect(table).toMatch(/^<p>8 rows, of which the first 5:<\/p><table>/);
  expect(table).not.toMatch(/<b>|object Object/);
  expect(table.match(/<tr>/g)).toHaveLength(6);
  expect(table).toContain('user: q0<br>assistant: &lt;b&gt;');
  const generator = await pipeline('text-generation', model, { tokenizer });
  const answer = await generator([{ role: 'user', content: '<b>' }], { max_new_tokens: 3 });
  const trained = await trainer.train();
  const values: [object, RegExp, RegExp][] = [
    [model, /^LlamaForCausalLM\(/, /^<p>[\d,]+ parameters<\/p><pre>LlamaForCausalLM\(/],
    [trainer, /^SFTTrainer\(\{/, /<th[^>]*>step<\/th><td[^>]*>5 of 5</],
    [tokenizer, /^Tokenizer\(\{/, /<th[^>]*>eos_token<\/th>/],
    [generator, /^TextGenerationPipeline\(\{\n {2}task: 'text-generation',/, /<th[^>]*>model<\/th>/],
    [
      answer,
      /^\[\s*\{\s*generated_text: \[\s*\{ role: 'user', content: '<b>' \},\s*\{ role: 'assistant'/,
      /<th[^>]*>role<\/th>.*&lt;b&gt;/,
    ],
    [await generator('a <b>', { max_new_tokens: 3 }), /^\[ \{ generated_text: 'a <b>/, /^<div style="white-space:pre-wrap">a &lt;b&gt;/],
    [trained, /^\{[\s\S]*global_step: 5,[\s\S]*metrics: \{[\s\S]*train_loss:/, /<th[^>]*>metrics\.train_loss<\/th><td[^>]*>[\d.]+</],
    [await evaluate(model, rows, { tokenizer }), /^\{[\s\S]*eval_loss/, /<th[^>]*>perplexity<\/th>/],
    [
      new LoraConfig({ r: 4, target_modules: ['q_proj'] }),
      /^LoraConfig\(\{\n {2}r: 4,\n {2}target_modules: \[ 'q_proj' \],\n {2}\/\/ by default:/,
      /<details>/,
    ],
    [
      new SFTConfig({ max_steps: 5 }),
      /^SFTConfig\(\{\n {2}max_steps: 5,\n {2}\/\/ by default:\n {2}[\s\S]*\n {2}\/\/ .*num_train_epochs: 3,/,
      /<th[^>]*>max_steps/,
    ],
    [new TrainingArguments({ max_steps: 5 }), /^TrainingArguments\(\{\n {2}max_steps: 5,/, /<th[^>]*>max_steps/],
    [new GenerationConfig({ max_new_tokens: 5 }), /^GenerationConfig\(\{\n {2}max_new_tokens: 5,\n\}\)$/, /<th[^>]*>max_new_tokens/],
    [
      new BitsAndBytesConfig({ load_in_4bit: true }),
      /^BitsAndBytesConfig\(\{\n {2}load_in_4bit: true,\n {2}\/\/ by default/,
      /<th[^>]*>load_in_4bit/,
    ],
    [await load_dataset('fine-tuning-qa'), /^DatasetDict\(\{\n {4}test: Dataset\(\{\n {8}features: \['topic'/, /<b>train<\/b>.*<table>/],
  ];
  for (const [value, text, html] of values) {
    const made = shown(value);
    expect(made['text/plain']).toMatch(text);
    expect(inspect(value)).toBe(made['text/plain']);
    expect(made['text/html']).toMatch(html);
    expect(made['text/plain'] + made['text/html']).not.toMatch(/\[Object\]|\[object|_from_model_config/);
  }
  expect(Object.keys(trained)).toEqual(['global_step', 'training_loss', 'stopped', 'checkpoint', 'metrics']);
  trainer.model.unload().dispose();
});
