import { InterruptedError } from '../core/errors';
import type { Precision } from '../engine/precision';
import type { CausalLM } from '../models/causal_lm';
import { baseOf, type PeftModel } from '../peft/model';
import { RunError } from './endings';
import type { TrainedModel } from './gradients';
import { evaluateRows, type Metrics } from './objective';
import type { TrainerParts } from './parts';
import { figuresOf, predictions } from './predictions';

interface How {
  precision: Precision;
  /** Awaited after each batch. */
  after: () => Promise<void>;
  /** Where the run is; undefined outside of one. */
  during?: { step: number; tokens: number };
}

/** What evaluation rows come to: what the objective says of them, compute_metrics, answers; and how long that took. */
export async function measured<M extends TrainedModel, E>(
  parts: TrainerParts<M, E>,
  rows: E[],
  { precision, after, during }: How,
): Promise<Metrics> {
  const { objective, model, args, compute_metrics, preprocess_logits_for_metrics: preprocess, answers } = parts;
  const start = performance.now();
  const { per_device_eval_batch_size: batchSize, label_smoothing_factor: smoothing } = args;
  const options = { batchSize, precision, smoothing, after };
  const metrics = await evaluateRows(objective, model, rows, options);
  if (compute_metrics) {
    const given = await predictions(objective, model, rows, options, preprocess);
    Object.assign(metrics, await own(async () => figuresOf(await compute_metrics(given)), during?.step));
  }
  if (answers) Object.assign(metrics, await answers.score(baseOf<CausalLM>(model as unknown as PeftModel<CausalLM>), after));
  const seconds = (performance.now() - start) / 1000;
  metrics.eval_runtime = seconds;
  metrics.eval_samples_per_second = rows.length / seconds;
  metrics.eval_steps_per_second = Math.ceil(rows.length / batchSize) / seconds;
  if (during) metrics.eval_num_tokens = during.tokens;
  return metrics;
}

/** What the user's own function makes of an evaluation; where it fails in a run, that is saved. */
async function own<T>(f: () => Promise<T>, step: number | undefined): Promise<T> {
  try {
    return await f();
  } catch (error) {
    if (step === undefined || error instanceof InterruptedError) throw error;
    throw new RunError(`compute_metrics failed in the evaluation after step ${step}: ${(error as Error).message}`, { cause: error });
  }
}
