import { beforeAll, expect, it } from 'vitest';
import {
  AutoModelForCausalLM,
  BitsAndBytesConfig,
  Dataset,
  generate,
  get_peft_model,
  LoraConfig,
  SFTConfig,
  SFTTrainer,
  Trainer,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { chatRow, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const rows = Dataset.from_list([chatRow('a', 'b'), chatRow('c', 'd')]);
let model: CausalLM;
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
});
const trainer = (options: object) => new SFTTrainer({ model, processing_class: tokenizer, train_dataset: rows, ...options });
const data = { train: rows, test: rows };

/** What people write, and what they are told they mean. */
const MEANT: [what: string, act: () => unknown, told: RegExp][] = [
  ['rank', () => new LoraConfig({ rank: 8 }), /LoraConfig has no option rank \(value 8\)\. Did you mean r\?/],
  ['lora_rank', () => new LoraConfig({ lora_rank: 8 }), /Did you mean r\?/],
  ['alpha', () => new LoraConfig({ alpha: 8 }), /Did you mean lora_alpha\?/],
  ['loraAlpha', () => new LoraConfig({ loraAlpha: 8 }), /Did you mean lora_alpha\?/],
  ['dropout', () => new LoraConfig({ dropout: 0.1 }), /Did you mean lora_dropout\?/],
  ['lr', () => new SFTConfig({ lr: 1e-4 }), /Did you mean learning_rate\?/],
  ['epochs', () => new SFTConfig({ epochs: 2 }), /Did you mean num_train_epochs\?/],
  ['batch_size', () => new SFTConfig({ batch_size: 2 }), /Did you mean per_device_train_batch_size\?/],
  ['steps', () => new SFTConfig({ steps: 2 }), /Did you mean max_steps\?/],
  ['bits', () => new BitsAndBytesConfig({ bits: 4 }), /Did you mean load_in_4bit\?/],
  ['dataset', () => new SFTTrainer({ model, dataset: rows }), /Did you mean train_dataset\?/],
  [
    'splits',
    () => trainer({ train_dataset: data }),
    /train_dataset has the splits 'train', 'test', and must be one of them: train_dataset: data\.train/,
  ],
  ['splits to evaluate', () => trainer({ eval_dataset: data }), /eval_dataset: data\.test/],
  [
    'splits of Trainer',
    () => new Trainer({ model: model as never, processing_class: tokenizer, train_dataset: data }),
    /Trainer: train_dataset has the splits/,
  ],
  [
    'rows',
    () => trainer({ train_dataset: [chatRow('a', 'b')] }),
    /is a list\. Make a data set of it: train_dataset: Dataset\.from_list\(rows\)/,
  ],
  ['a name', () => trainer({ train_dataset: 'rows.jsonl' }), /await load_dataset\('rows\.jsonl', \{ split: 'train' \}\)/],
  ['a question', () => tokenizer.apply_chat_template('Hi'), /Give \[\{ role: 'user', content: 'Hi' \}\]/],
  ['a prompt', () => generate(model, 'Hi'), /takes token ids, but got the text 'Hi'\. Give tokenizer\('Hi'\), or ask a pipeline/],
];

it.each(MEANT)('what is meant by %s is told', async (_, act, told) => {
  await expect((async () => act())()).rejects.toThrow(told);
});

it('what can be meant in one way only is taken: one sample prompt, a tokenizer’s ids', async () => {
  expect(new SFTConfig({ sample_prompts: 'What is it?' }).sample_prompts).toEqual(['What is it?']);
  const settings = { max_new_tokens: 3 };
  expect(await model.generate(tokenizer('a text'), settings)).toEqual(await model.generate(tokenizer.encode('a text'), settings));
  const peft = get_peft_model(model, new LoraConfig({ r: 2 }));
  expect(await peft.generate(tokenizer('a text'), settings)).toHaveLength(3);
});
