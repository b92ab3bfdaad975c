import { turn } from '../core/interrupt';
import { Random } from '../core/random';
import { collate, labelCount, microBatches } from '../data/collate';
import type { Example } from '../data/sft';
import { take } from '../engine/backend';
import { type Precision, withPrecision } from '../engine/precision';
import { record } from '../engine/tape';
import * as tf from '../engine/tf';
import type { CausalLM } from '../models/causal_lm';
import { type Module, training } from '../nn';
import { baseOf, type PeftModel } from '../peft/model';
import type { Plan } from './micro_batches';

/** A model with an adapter that is trained, or one whose own tensors are. */
export type TrainedModel = PeftModel<CausalLM> | CausalLM;

/**
 * Gradient of the step's mean loss over all its labelled tokens, summed over micro-batches; by the names of the model's parameters.
 * `seed` and `step` decide what dropout drops. Yields to the event loop after each micro-batch.
 */
export async function stepGradients(
  model: TrainedModel,
  rows: Example[],
  { plan, precision, seed, step }: { plan: Plan; precision: Precision; seed: number; step: number },
): Promise<{ gradients: Map<string, tf.Tensor>; loss: number }> {
  const base = baseOf<CausalLM>(model);
  const parameters = [...model.namedParameters()];
  const labels = rows.reduce((n, row) => n + labelCount(row), 0);
  const recompute = plan.recompute ? { parameters: (block: Module) => model.parametersIn(block) } : undefined;
  let sums: tf.Tensor[] | undefined;
  let loss = 0;
  const trained = parameters.map(([, p]) => p.tensor);
  try {
    for (const [i, group] of microBatches(rows, plan.tokens).entries()) {
      const pass = () => {
        const { ids, layout, positions, labels: targets } = collate(group);
        const bits = Random.seeded(seed, step, i).bits();
        const options = { layout, ...(recompute && { recompute }) };
        const recorded = training(bits, () => record(() => base.loss(ids, positions, targets, 1 / labels, options)));
        const total = training(bits, () => recorded.pullback(trained, undefined, sums));
        return { value: recorded.value, total };
      };
      const { value, total }: { value: tf.Tensor; total: tf.Tensor[] } = tf.tidy(() => withPrecision(precision, pass));
      sums = total;
      loss += (await take(value))[0];
      await turn();
    }
  } catch (error) {
    for (const sum of sums ?? []) sum.dispose();
    throw error;
  }
  return { gradients: new Map(parameters.map(([name], i) => [name, (sums as tf.Tensor[])[i]])), loss };
}
