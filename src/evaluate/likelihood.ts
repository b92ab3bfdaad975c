import { DataError, OptionError } from '../core/errors';
import { turn } from '../core/interrupt';
import { readOptions, show } from '../core/options';
import { asText, collate, microBatches, type Text } from '../data/collate';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import type { CausalLM } from '../models/causal_lm';
import type { PeftModel } from '../peft/model';
import { baseOf } from '../peft/model';
import type { ChatMessage, Tokenizer } from '../tokenizers/tokenizer';
import { TOKENS_AT_ONCE } from './loss';

/** What a continuation is read behind: a text, or messages that the model is to answer. */
export type Context = string | ChatMessage[];

export interface Likelihood {
  /** The logarithm of the continuation's probability, in nats. */
  logprob: number;
  /** Whether greedy decoding would write it. */
  is_greedy: boolean;
  /** How many tokens it has. */
  tokens: number;
}

export interface LikelihoodOptions {
  tokenizer: Tokenizer;
  /** Tokens that context and continuation may have together: of longer ones the context's beginning is left out. The model's positions. */
  max_length: number | null;
}

/**
 * The tokens of both. As lm-evaluation-harness cuts them: spaces at the context's end belong to the continuation, whose tokens are those
 * that the whole has behind the context's; an empty context is the token that texts begin with.
 */
function encodePair(context: Context, continuation: string, tokenizer: Tokenizer): [context: number[], continuation: number[]] {
  if (!continuation)
    throw new DataError('loglikelihood: a continuation is empty; there is nothing to measure. Give a text of at least one character.');
  if (typeof context !== 'string') {
    const ids = tokenizer.apply_chat_template(context, { add_generation_prompt: true });
    return [ids, tokenizer.encode(continuation, { add_special_tokens: false })];
  }
  if (!context) {
    const first = tokenizer.bos_token_id ?? tokenizer.eos_token_id;
    if (first === undefined || first === null)
      throw new DataError('loglikelihood: the context is empty, and the tokenizer has no token that a text begins with. Give a context.');
    return [[first], tokenizer.encode(continuation, { add_special_tokens: false })];
  }
  const before = context.trimEnd();
  const whole = tokenizer.encode(context + continuation);
  const { length } = tokenizer.encode(before);
  return [whole.slice(0, length), whole.slice(length)];
}

/** A pair as a text whose last tokens are measured, cut to what the model can read. */
function asked(context: number[], continuation: number[], most: number): Text {
  if (continuation.length > most)
    throw new DataError(`loglikelihood: a continuation has ${continuation.length} tokens, but max_length is ${most}. Shorten it.`);
  const ids = [...context, ...continuation].slice(-(most + 1));
  const from = ids.length - continuation.length;
  return asText(
    ids,
    ids.map((_, i) => i >= from),
  );
}

/** Of each label, the logarithm of its probability, whether no token is more probable, and its text. */
async function measured(model: CausalLM, texts: Text[]): Promise<{ logprob: number; best: boolean; text: number }[]> {
  const { textOf, tensors } = tf.tidy(() => {
    const { ids, layout, positions, labels, textOf } = collate(texts, (text) => [text]);
    return { textOf, tensors: [...model.likelihoods(ids, positions, labels, { layout }), labels] };
  });
  const [logprobs, best, labels] = await Promise.all(tensors.map(take));
  return textOf.map((text, i) => ({ logprob: logprobs[i], best: best[i] === labels[i], text }));
}

/**
 * How probable each continuation is behind its context: pairs [context, continuation] as lm-evaluation-harness has them, a context being
 * a text or a conversation. What the contexts of neighbouring pairs begin with in common is read once.
 */
export async function loglikelihood(
  model: CausalLM | PeftModel<CausalLM>,
  pairs: readonly (readonly [Context, string])[],
  given: { tokenizer: Tokenizer } & Partial<LikelihoodOptions>,
): Promise<Likelihood[]> {
  const { tokenizer, max_length } = readOptions<LikelihoodOptions>('loglikelihood', given, {
    tokenizer: undefined as unknown as Tokenizer,
    max_length: null,
  });
  if (!tokenizer) throw new OptionError('loglikelihood needs the tokenizer: loglikelihood(model, pairs, { tokenizer }).');
  const base = baseOf(model);
  const most = Math.min(max_length ?? base.positions, base.positions);
  const texts = pairs.map((pair, i) => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[1] !== 'string')
      throw new DataError(`loglikelihood takes pairs [context, continuation], but pair ${i} is ${show(pair)}.`);
    return asked(...encodePair(pair[0], pair[1], tokenizer), most);
  });
  const results: Likelihood[] = [];
  for (const group of microBatches(texts, (text) => [text], TOKENS_AT_ONCE)) {
    const its = group.map((): Likelihood => ({ logprob: 0, is_greedy: true, tokens: 0 }));
    for (const { logprob, best, text } of await measured(base, group)) {
      its[text].logprob += logprob;
      its[text].is_greedy &&= best;
      its[text].tokens++;
    }
    results.push(...its);
    await turn();
  }
  return results;
}
