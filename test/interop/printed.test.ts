import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  get_peft_model,
  IA3Config,
  LNTuningConfig,
  LoraConfig,
  PromptTuningConfig,
} from '../../src/index';
import { peer } from '../peer';
import { scratch, tinyTokenizer } from '../tiny';
import { ARCHITECTURES, BASE } from './architectures';

const CONFIGS = { LoraConfig, IA3Config, LNTuningConfig, PromptTuningConfig };

interface Case {
  name: string;
  config: Record<string, unknown>;
  task?: string;
  adapter?: [keyof typeof CONFIGS, Record<string, unknown>];
}
const llama = { ...BASE, model_type: 'llama', num_key_value_heads: 2 };
const q = { target_modules: ['q_proj', 'v_proj'], r: 4 };

/** Families that are built like Llama, and adapters of each method. */
const CASES: Case[] = [
  ...['llama', 'mistral', 'qwen2'].map((model_type) => ({
    name: model_type,
    config: { ...BASE, model_type, ...ARCHITECTURES[model_type].configs[0] },
  })),
  {
    name: 'another activation',
    config: { ...llama, hidden_act: 'gelu_pytorch_tanh', pad_token_id: 3 },
    adapter: ['LoraConfig', { ...q, lora_dropout: 0.1 }],
  },
  {
    name: 'a head with classes',
    config: { ...llama, num_labels: 3, pad_token_id: 3, tie_word_embeddings: false },
    task: 'SEQ_CLS',
  },
  {
    name: 'LoRA beside table and head, and a norm',
    config: { ...llama, tie_word_embeddings: false },
    adapter: ['LoraConfig', { target_modules: ['embed_tokens', 'lm_head'], r: 4, modules_to_save: ['model.norm'] }],
  },
  { name: 'ranks of their own', config: llama, adapter: ['LoraConfig', { ...q, rank_pattern: { v_proj: 2 } }] },
  { name: '(IA)^3', config: llama, adapter: ['IA3Config', {}] },
  { name: 'LN tuning', config: llama, adapter: ['LNTuningConfig', {}] },
];

const cases = CASES.map((one) => ({ ...one, folder: scratch('printed') }));

it('models and adapters are printed as transformers and PEFT print them', async () => {
  const theirs = peer<{ model: string; adapter?: string }[]>('models', { cases }, 'peer_printed.py');
  for (const [i, { name, folder, task, adapter }] of cases.entries()) {
    const auto = task ? AutoModelForSequenceClassification : AutoModelForCausalLM;
    const model = await auto.from_pretrained(folder, { progress: false });
    expect(inspect(model), name).toBe(theirs[i].model);
    if (adapter) {
      const peft = get_peft_model(model as never, new CONFIGS[adapter[0]](adapter[1]));
      expect(inspect(peft), name).toBe(theirs[i].adapter);
    }
    model.dispose();
  }
});

it('a learned prompt is printed beside its model', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(cases[0].folder, { progress: false });
  const text = inspect(get_peft_model(model, new PromptTuningConfig({ num_virtual_tokens: 3 })));
  expect(text).toMatch(
    /\n {2}\(prompt_encoder\): ModuleDict\(\n {4}\(default\): PromptEmbedding\(\n {6}\(embedding\): Embedding\(3, 32\)\n/,
  );
  model.dispose();
});

it('a call of a tokenizer gives what it gives in transformers', async () => {
  const tokenizer = tinyTokenizer();
  const folder = join(scratch('called'));
  await tokenizer.save_pretrained(folder);
  const texts = ['a', 'a longer text', 'ünïcode 🙂'];
  const calls = [
    { text: 'a text', options: {} },
    { text: texts, options: {} },
    { text: texts, options: { padding: true } },
    { text: texts, options: { padding: 'max_length', max_length: 12, truncation: true } },
    { text: texts, options: { truncation: true, max_length: 4 } },
    { text: 'a longer text', options: { truncation: true, max_length: 4, add_special_tokens: false } },
    { text: texts, options: { padding: 'longest', truncation: true, max_length: 6 } },
  ].flatMap((call) => [
    { ...call, sides: { padding_side: 'right', truncation_side: 'right' } as const },
    { ...call, sides: { padding_side: 'left', truncation_side: 'left' } as const },
  ]);
  const theirs = peer<object[]>('encoded', { folder, calls }, 'peer_printed.py');
  for (const [i, { text, options, sides }] of calls.entries()) {
    Object.assign(tokenizer, sides);
    expect(tokenizer(text as string, options as object), JSON.stringify(calls[i])).toEqual(theirs[i]);
  }
  expect(() => tokenizer('a', { return_tensors: 'pt' } as never)).toThrow(/tokenizer has no option return_tensors/);
  expect(() => tokenizer(7 as never)).toThrow(/takes a text/);
});
