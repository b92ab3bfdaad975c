import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, SFTConfig, SFTTrainer } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { answers } from '../llama';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const QUESTIONS = ['Who?', 'What is it', 'naïve 漢字 🙂'];
const ANSWERS = ['An answer of its own.', 'Nothing but 123 numbers', 'ünïcode, 東京 too 🙂!'];
const tokenizer = tinyTokenizer();
const prompts = QUESTIONS.map((content) =>
  tokenizer.apply_chat_template([{ role: 'user', content }], { tokenize: false, add_generation_prompt: true }),
);

/** A small model that has learned its answers by heart, so that what it says hangs on no rounding. */
async function learned(config = {}): Promise<CausalLM> {
  const size = { hidden_size: 256, intermediate_size: 512, num_attention_heads: 4, num_key_value_heads: 2, tie_word_embeddings: false };
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(5, { ...size, ...config }), {
    progress: false,
    dtype: 'float32',
  });
  const args = { max_steps: 40, learning_rate: 2e-3, lr_scheduler_type: 'constant', per_device_train_batch_size: 3, logging_steps: 100 };
  const trainer = new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: Dataset.from_list(QUESTIONS.map((question, i) => chatRow(question, ANSWERS[i]))),
    args: new SFTConfig({ output_dir: scratch('gguf'), save_strategy: 'no', report_to: 'none', assistant_only_loss: false, ...args }),
  });
  await trainer.train();
  return model as CausalLM;
}

const ours = async (model: CausalLM, prompt: string) =>
  tokenizer.decode(await model.generate(tokenizer.encode(prompt), { max_new_tokens: 40, do_sample: false }), { skip_special_tokens: true });

it('llama.cpp loads what is written, packed in each way, with its tokenizer and template, and answers the same', async () => {
  const model = await learned();
  for (const prompt of prompts) expect(ANSWERS).toContain(await ours(model, prompt));
  const folder = scratch('gguf');
  for (const quantization_method of ['f16', 'bf16', 'q8_0', 'q4_k_m', 'q4_0']) {
    const path = await model.save_pretrained_gguf(folder, tokenizer, { quantization_method });
    expect(path.endsWith(`.${quantization_method.toUpperCase()}.gguf`)).toBe(true);
    const read = await AutoModelForCausalLM.from_pretrained(path, { progress: false });
    const own = await Promise.all(prompts.map((prompt) => ours(read, prompt)));
    const theirs = await answers(path, prompts, { tokens: 60 });
    expect(
      theirs.map(({ text }) => text),
      quantization_method,
    ).toEqual(own);
    expect(theirs.map(({ ids }) => ids)).toEqual(prompts.map((prompt) => tokenizer.encode(prompt)));
    expect(theirs.map(({ end }) => end)).toEqual(prompts.map(() => tokenizer.eos_token_id));
    read.dispose();
  }
});
