import { textsOf } from '../../data/collate';
import type { Example } from '../../data/sft';
import * as tf from '../../engine/tf';
import type { CausalLM } from '../../models/causal_lm';
import { baseOf, type PeftModel } from '../../peft/model';

/** The figures of an evaluation of texts. */
export const TEXT_FIGURES = ['eval_loss', 'eval_entropy', 'eval_mean_token_accuracy', 'eval_tokens', 'perplexity'];

/** The labels of a row's tokens, -100 where none is learned. */
export const labelsOf = (row: Example): number[] =>
  textsOf(row).flatMap(({ input_ids, trained }) => input_ids.map((id, i) => (trained[i] && i ? id : -100)));

/** Logits at each of a row's tokens: [tokens, vocabulary] */
export function logitsOf(model: CausalLM | PeftModel<CausalLM>, row: Example): tf.Tensor {
  const base = baseOf<CausalLM>(model);
  const { input_ids, lengths = [input_ids.length] } = row;
  const hidden = base.hidden(tf.tensor2d(input_ids, [1, input_ids.length], 'int32'), { layout: { lengths } });
  return base.logits(tf.reshape(hidden, [input_ids.length, -1]) as tf.Tensor2D);
}

/** What a model's head tells of a micro-batch, under TRL's names; `factor` as the loss has it. */
export class HeadFigures {
  private told?: tf.Tensor1D;

  readonly figures = (told: tf.Tensor1D): void => {
    this.told = told;
  };

  /** Each []. To be asked once, when the head has run. */
  metrics(factor: number): Record<string, tf.Scalar> {
    const { told } = this;
    if (!told) return {};
    const of = (i: number) => tf.mul(tf.reshape(tf.slice(told, [i], [1]), []), factor) as tf.Scalar;
    const metrics = { entropy: of(0), mean_token_accuracy: of(1) };
    told.dispose();
    return metrics;
  }
}
