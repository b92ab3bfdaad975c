import { InterruptedError } from '../core/errors';
import { remedied } from '../engine/plain_error';
import type { Precision } from '../engine/precision';
import type { CausalLM } from '../models/causal_lm';
import { baseOf, type PeftModel } from '../peft/model';
import { RunError } from './endings';
import type { TrainedModel } from './gradients';
import { evaluateRows, type Metrics } from './objective';
import type { TrainerParts } from './parts';
import { figuresOf, type PreprocessLogits, predictions } from './predictions';

interface How {
  precision: Precision;
  /** Awaited after each batch. */
  after: () => Promise<void>;
  /** Where the run is; undefined outside of one. */
  during?: { step: number; tokens: number };
}

/** What evaluation rows come to: what the objective says of them, compute_metrics, answers; and how long that took. Where it fails in a run, the run is saved. */
export async function measured<M extends TrainedModel, E>(parts: TrainerParts<M, E>, rows: E[], how: How): Promise<Metrics> {
  const step = how.during?.step;
  try {
    return await measure(parts, rows, how);
  } catch (error) {
    throw failure(error, `The evaluation after step ${step} failed`, step);
  }
}

async function measure<M extends TrainedModel, E>(
  { objective, model, args, compute_metrics, preprocess_logits_for_metrics: preprocess, answers }: TrainerParts<M, E>,
  rows: E[],
  { precision, after, during }: How,
): Promise<Metrics> {
  const start = performance.now();
  const { per_device_eval_batch_size: batchSize, label_smoothing_factor: smoothing } = args;
  const options = { batchSize, precision, smoothing, after };
  const metrics = await evaluateRows(objective, model, rows, options);
  const own = (name: string, error: unknown) => failure(error, `${name} failed in the evaluation after step ${during?.step}`, during?.step);
  if (compute_metrics) {
    const less: typeof preprocess = (...given) => {
      try {
        return (preprocess as PreprocessLogits)(...given);
      } catch (error) {
        throw own('preprocess_logits_for_metrics', error);
      }
    };
    const given = await predictions(objective, model, rows, options, preprocess && less);
    try {
      Object.assign(metrics, figuresOf(await compute_metrics(given)));
    } catch (error) {
      throw own('compute_metrics', error);
    }
  }
  if (answers) Object.assign(metrics, await answers.score(baseOf<CausalLM>(model as unknown as PeftModel<CausalLM>), after));
  const seconds = (performance.now() - start) / 1000;
  metrics.eval_runtime = seconds;
  metrics.eval_samples_per_second = rows.length / seconds;
  metrics.eval_steps_per_second = Math.ceil(rows.length / batchSize) / seconds;
  if (during) metrics.eval_num_tokens = during.tokens;
  return metrics;
}

/** What an evaluation fails with: in a run an error by which what was trained is saved. */
function failure(error: unknown, what: string, step: number | undefined): unknown {
  const told = remedied(error, 'evaluating');
  if (step === undefined || error instanceof InterruptedError || error instanceof RunError) return told;
  return new RunError(`${what}: ${(told as Error).message}`, { cause: error });
}
