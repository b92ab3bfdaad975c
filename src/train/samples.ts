import { OptionError } from '../core/errors';
import { generate } from '../generate/generate';
import { CausalLM } from '../models/causal_lm';
import type { PretrainedModel } from '../models/pretrained';
import { baseOf, PeftModel } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import type { TrainedModel } from './gradients';
import type { Run } from './run';

type Sample = Run['samples'][number];

/** What writes samples of a model that is being trained. */
export interface Writer {
  model: TrainedModel;
  tokenizer: Tokenizer;
  max_new_tokens: number;
}

/** What the model writes after a prompt now, greedily: an answer, where its tokenizer has a chat template. */
async function write({ model, tokenizer, max_new_tokens }: Writer, prompt: string): Promise<string> {
  const base = baseOf<PretrainedModel>(model);
  if (!(base instanceof CausalLM)) throw new OptionError('sample: this model writes no text.');
  const ids = tokenizer.chat_template
    ? tokenizer.apply_chat_template([{ role: 'user', content: prompt }], { add_generation_prompt: true })
    : tokenizer.encode(prompt);
  return tokenizer.decode(await generate(base, ids, { max_new_tokens }), { skip_special_tokens: true });
}

/** One sample after each prompt. */
export async function samplesOf(writer: Writer, prompts: readonly string[], step: number): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const prompt of prompts) samples.push({ step, prompt, text: await write(writer, prompt) });
  return samples;
}

/** The answer to a question of the reader's own, with what the base model answers where an adapter is trained beside it. */
export async function answerTo(writer: Writer, question: string, step: number): Promise<Sample> {
  const { model } = writer;
  const text = await write(writer, question);
  const base = model instanceof PeftModel ? { base: await model.disable_adapter(() => write(writer, question)) } : {};
  return { step, prompt: question, text, ...base, asked: true };
}
