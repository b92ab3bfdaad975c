import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nearest, OptionError } from '../core/errors';
import { checkFlags, show } from '../core/options';
import type { TrainingOptions } from './options';
import type { TrainerState } from './state';

type Best = Pick<
  TrainingOptions,
  | 'load_best_model_at_end'
  | 'metric_for_best_model'
  | 'greater_is_better'
  | 'eval_strategy'
  | 'eval_steps'
  | 'logging_steps'
  | 'save_strategy'
  | 'save_steps'
>;

/** Fails where the best checkpoint could not be known, as transformers does; takes the loss where no metric is named, as it does too. */
export function checkBest(owner: string, o: Best): void {
  const { load_best_model_at_end: loads } = o;
  checkFlags(owner, o, 'load_best_model_at_end');
  if (loads) o.metric_for_best_model ??= 'loss';
  const { metric_for_best_model: metric, greater_is_better: greater, eval_strategy: evaluates, save_strategy: saves } = o;
  if (metric !== null && (typeof metric !== 'string' || !metric))
    throw new OptionError(
      `${owner}: metric_for_best_model must be the name of a figure of evaluations ('loss', say) or null, but is ${show(metric)}.`,
    );
  if (greater !== null && (typeof greater !== 'boolean' || metric === null))
    throw new OptionError(`${owner}: greater_is_better = ${show(greater)} must be true, false or null, and needs metric_for_best_model.`);
  if (saves === 'best' && (metric === null || evaluates === 'no'))
    throw new OptionError(
      `${owner}: save_strategy = 'best' saves where metric_for_best_model got better in an evaluation, but that is ${show(metric)} and eval_strategy ${show(evaluates)}. Set both: 'loss' and 'steps', say.`,
    );
  if (!loads || saves === 'best') return;
  if (evaluates !== saves)
    throw new OptionError(
      `${owner}: load_best_model_at_end needs a checkpoint of each evaluation: eval_strategy and save_strategy must be the same (or save_strategy 'best'), but are ${show(evaluates)} and ${show(saves)}.`,
    );
  const [every, saved] = [o.eval_steps ?? o.logging_steps, o.save_steps];
  const isMultiple = every < 1 === saved < 1 && Math.round(saved * 1e6) % Math.round(every * 1e6) === 0;
  if (evaluates === 'steps' && !isMultiple)
    throw new OptionError(
      `${owner}: load_best_model_at_end needs an evaluation at each checkpoint: save_steps (${saved}) must be a multiple of eval_steps (${every}), both as steps or both as shares.`,
    );
}

const ALWAYS = ['eval_runtime', 'eval_samples_per_second', 'eval_steps_per_second', 'eval_num_tokens'];

interface Figures {
  objective: { readonly figures?: readonly string[] };
  compute_metrics?: unknown;
  answers?: { names: string[] };
}

/** The figure of an evaluation that a name means, which may leave out 'eval_'; undefined where there is none. */
export const figureOf = (name: string, all: Iterable<string>): string | undefined => {
  const known = new Set(all);
  return [name.startsWith('eval_') ? name : `eval_${name}`, name].find((one) => known.has(one));
};

/** Whether more of a figure is better, where nobody says so. */
export const moreIsBetter = (name: string): boolean => !/(loss|perplexity)$/.test(name);

/** Fails where the `option` names no figure of an evaluation, as far as that is known before there is one. */
export function checkMetricName(option: string, wanted: string | null, { objective, compute_metrics, answers }: Figures): void {
  if (wanted === null || compute_metrics || !objective.figures) return;
  const all = [...objective.figures, ...(answers?.names ?? []), ...ALWAYS];
  if (figureOf(wanted, all)) return;
  const names = all.map((name) => name.replace(/^eval_/, ''));
  const guess = nearest(wanted, names);
  throw new OptionError(
    `${option} = '${wanted}' is no figure of an evaluation.${guess ? ` Did you mean '${guess}'?` : ''} There are ${names.join(', ')}; ` +
      'compute_metrics or predict_with_generate add others.',
  );
}

/** The run's best checkpoint, where it was saved: the one being written to `writing` counts. */
export function bestCheckpoint({ best_global_step, best_model_checkpoint }: TrainerState, folder: string, writing: string): string | null {
  if (best_global_step === null) return best_model_checkpoint;
  const path = join(folder, `checkpoint-${best_global_step}`);
  return path === writing || existsSync(path) ? path : best_model_checkpoint;
}
