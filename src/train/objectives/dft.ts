import { labelCount, textsOf } from '../../data/collate';
import type { Example } from '../../data/sft';
import * as tf from '../../engine/tf';
import type { CausalLM } from '../../models/causal_lm';
import { baseOf, type PeftModel } from '../../peft/model';
import type { Objective } from '../objective';
import { HeadFigures, labelsOf, logitsOf, TEXT_FIGURES } from './figures';

/** Each loss times the probability of its token, which is taken as a number: it gets no gradient. [rows] -> [rows] */
const weighed = tf.customGrad((losses, save) => {
  const probability = tf.exp(tf.neg(losses as tf.Tensor));
  (save as unknown as (tensors: tf.Tensor[]) => void)([probability]);
  return { value: tf.mul(losses as tf.Tensor, probability), gradFunc: (dy: tf.Tensor, [p]: tf.Tensor[]) => tf.mul(dy, p) };
});

/**
 * Dynamic fine-tuning (Wu et al., 2025, https://arxiv.org/abs/2508.05629), TRL's loss_type 'dft': a token's loss counts as much as the
 * model believes in the token, so that what it does not know at all pulls less.
 */
export const dft: Objective<Example, CausalLM | PeftModel<CausalLM>> = {
  texts: textsOf,
  weight: labelCount,
  predict: logitsOf,
  labels: labelsOf,
  figures: TEXT_FIGURES.slice(0, 3),
  loss(model, { ids, positions, labels }, { factor, gradient, forward }) {
    const head = new HeadFigures();
    const losses = baseOf<CausalLM>(model).losses(ids, positions, labels, { ...forward, figures: head.figures }, gradient);
    return { loss: tf.mul(tf.sum(weighed(losses)), factor) as tf.Scalar, metrics: head.metrics(factor) };
  },
};
