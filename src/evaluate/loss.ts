import { DataError } from '../core/errors';
import { turn } from '../core/interrupt';
import { figuresHtml, shownAs } from '../core/shown';
import { collate, labelCount, microBatches, textsOf } from '../data/collate';
import type { Row } from '../data/dataset';
import { type Example, prepareSft } from '../data/sft';
import { take } from '../engine/backend';
import { sparing } from '../engine/plain_error';
import { type Precision, withPrecision } from '../engine/precision';
import * as tf from '../engine/tf';
import type { CausalLM } from '../models/causal_lm';
import { baseOf, type PeftModel } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { combine, load } from './metrics';

export interface Evaluation {
  /** Mean cross-entropy of the labelled tokens, in nats. */
  eval_loss: number;
  /** e^eval_loss: among how many tokens the model is torn, on average. */
  perplexity: number;
  eval_tokens: number;
  /** The mean entropy of the model's guesses at these tokens, in nats. */
  eval_entropy: number;
  /** The share of these tokens that the model holds for the most probable. */
  eval_mean_token_accuracy: number;
  /** Seconds. */
  eval_runtime: number;
}

/** Tokens that go through the model at once: more gain no speed. */
export const TOKENS_AT_ONCE = 512;

/** Mean loss over all labelled tokens of the examples, `batchSize` rows at a time at most; yields to the event loop, and awaits `after`, after each group. */
export async function meanLoss(
  model: CausalLM,
  examples: Example[],
  {
    batchSize,
    precision = 'fp32',
    smoothing,
    after,
  }: { batchSize?: number; precision?: Precision; smoothing?: number; after?: () => Promise<void> } = {},
): Promise<Evaluation> {
  const start = performance.now();
  const total = examples.reduce((n, e) => n + labelCount(e), 0);
  if (!total) throw new DataError('There is no labelled token to evaluate on: every row is empty or fully masked.');
  const sorted = [...examples].sort((a, b) => a.input_ids.length - b.input_ids.length);
  let [sum, entropy, right] = [0, 0, 0];
  for (const group of microBatches(sorted, textsOf, TOKENS_AT_ONCE, batchSize)) {
    let told: tf.Tensor | undefined;
    const figures = (one: tf.Tensor) => {
      told = one;
    };
    const losses = tf.tidy(() => {
      const { ids, layout, positions, labels } = collate(group, textsOf);
      return withPrecision(precision, () => model.losses(ids, positions, labels, { layout, smoothing, figures }));
    });
    for (const loss of await take(losses)) sum += loss;
    const [more, hits] = await take(told as tf.Tensor);
    entropy += more;
    right += hits;
    await turn();
    await after?.();
  }
  const eval_loss = sum / total;
  const result = {
    eval_loss,
    perplexity: Math.exp(eval_loss),
    eval_tokens: total,
    eval_entropy: entropy / total,
    eval_mean_token_accuracy: right / total,
    eval_runtime: (performance.now() - start) / 1000,
  };
  return shownAs(result, () => figuresHtml(result));
}

/**
 * Loss and perplexity of a model on rows of {messages} (the answers), {prompt, completion} or {text}.
 *
 * `evaluate.load('f1')` and `evaluate.combine(['accuracy', 'f1'])` are metrics of answers, as Python's evaluate has them.
 */
export async function evaluate(
  model: CausalLM | PeftModel<CausalLM>,
  dataset: Iterable<Row>,
  { tokenizer, max_length = 1024 }: { tokenizer: Tokenizer; max_length?: number },
): Promise<Evaluation> {
  const { examples } = prepareSft(dataset, tokenizer, {
    max_length,
    assistant_only_loss: true,
    completion_only_loss: null,
    dataset_text_field: 'text',
  });
  return sparing('evaluating', () => meanLoss(baseOf(model), examples));
}
evaluate.load = load;
evaluate.combine = combine;
