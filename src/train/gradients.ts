import { turn } from '../core/interrupt';
import { Random } from '../core/random';
import { collate, microBatches } from '../data/collate';
import { take } from '../engine/backend';
import { type Precision, withPrecision } from '../engine/precision';
import { record } from '../engine/tape';
import * as tf from '../engine/tf';
import type { PretrainedModel } from '../models/pretrained';
import { type Module, training } from '../nn';
import { baseOf, PeftModel } from '../peft/model';
import type { Plan } from './micro_batches';
import { addUp, kept, type Objective, weightOf } from './objective';
import type { TrainingOptions } from './options';

/** A model with an adapter that is trained, or one whose own tensors are. */
export type TrainedModel = PeftModel<PretrainedModel> | PretrainedModel;

/** How many parameters transformers counts operations by: all but the embedding table. */
export function countForFlos(model: TrainedModel): number {
  const base = baseOf<PretrainedModel>(model);
  const adapters = model instanceof PeftModel ? [...model.ownParameters().values()] : [];
  return base.numParameters() - base.decoder.embeddings.numParameters() + adapters.reduce((n, { tensor }) => n + tensor.size, 0);
}

export interface StepOptions {
  plan: Plan;
  precision: Precision;
  /** `seed` decides what dropout drops and noise adds. */
  args: Pick<TrainingOptions, 'seed' | 'neftune_noise_alpha' | 'label_smoothing_factor'>;
  step: number;
  /** Awaited between micro-batches. */
  between?: () => Promise<void>;
}

export interface StepGradients {
  /** By the names of the model's parameters. */
  gradients: Map<string, tf.Tensor>;
  loss: number;
  metrics: Record<string, number>;
}

/**
 * Gradient of the step's loss, a mean over what its rows weigh together, summed over micro-batches. Yields to the event loop after
 * each micro-batch.
 */
export async function stepGradients<E, M extends TrainedModel>(
  model: M,
  objective: Objective<E, M>,
  rows: E[],
  { plan, precision, args: { seed, neftune_noise_alpha: alpha, label_smoothing_factor: smoothing }, step, between }: StepOptions,
): Promise<StepGradients> {
  const parameters = [...model.namedParameters()];
  const factor = 1 / weightOf(objective, rows);
  const recompute = plan.recompute ? { parameters: (block: Module) => model.parametersIn(block) } : undefined;
  await objective.prepare?.(model, rows, precision);
  let sums: tf.Tensor[] | undefined;
  let loss = 0;
  const metrics: Record<string, number> = {};
  const trained = parameters.map(([, p]) => p.tensor);
  try {
    for (const [i, group] of microBatches(rows, objective.texts, plan.tokens).entries()) {
      if (i) await between?.();
      const pass = () => {
        const batch = { ...collate(group, objective.texts), rows: group };
        const bits = Random.seeded(seed, step, i).bits();
        const noised = alpha ? { noise: { alpha, seed: bits } } : {};
        const forward = { layout: batch.layout, ...(recompute && { recompute }), ...noised };
        let figures: ReturnType<typeof kept> = {};
        const recorded = training(bits, () =>
          record(() => {
            const made = objective.loss(model, batch, { factor, gradient: true, smoothing, forward });
            figures = kept(made.metrics);
            const penalty = i === 0 && 'penalty' in model ? model.penalty() : undefined;
            return penalty ? tf.add(made.loss, penalty) : made.loss;
          }),
        );
        const total = training(bits, () => recorded.pullback(trained, undefined, sums));
        return { value: recorded.value, total, figures };
      };
      const { value, total, figures } = tf.tidy(() => withPrecision(precision, pass));
      sums = total;
      loss += (await take(value))[0];
      await addUp(metrics, figures);
      await turn();
    }
  } catch (error) {
    for (const sum of sums ?? []) sum.dispose();
    throw error;
  }
  return { gradients: new Map(parameters.map(([name], i) => [name, (sums as tf.Tensor[])[i]])), loss, metrics };
}
