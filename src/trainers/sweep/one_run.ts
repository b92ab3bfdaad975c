import { InterruptedError, OptionError } from '../../core/errors';
import { show } from '../../core/options';
import * as tf from '../../engine/tf';
import type { CausalLM } from '../../models/causal_lm';
import { figureOf } from '../../train/best';
import { type CallbackContext, TrainerCallback } from '../../train/callbacks/callback';
import type { TrainingOptions } from '../../train/config';
import type { Run } from '../../train/run';
import type { TrainerState } from '../../train/state';
import type { SFTTrainer } from '../sft';
import type { SweepRun } from './record';

/** What runs are compared by: a figure's name, or the user's own function. */
export type Score = string | ((trainer: SFTTrainer) => number | Promise<number>);

/** The score is no figure of evaluations: all runs of the sweep would fail by it. */
export class ScoreError extends OptionError {}

interface Sweep {
  readonly data: { id: string };
  readonly isInterrupted: boolean;
  readonly score: Score;
  tell(what: 'begin' | 'step'): void;
}

/** Keeps a run's row as it goes, and what its last evaluation came to. */
export class Watch extends TrainerCallback {
  private began = 0;
  private evaluated?: { step: number; metrics: Record<string, number> };

  constructor(
    private readonly row: SweepRun,
    private readonly sweep: Sweep,
  ) {
    super();
  }

  override on_train_begin(_: unknown, __: unknown, ___: unknown, { run }: CallbackContext): void {
    const { row, sweep } = this;
    // It came before the trainer listened.
    if (sweep.isInterrupted) throw new InterruptedError('The sweep was interrupted.');
    const { id, totalSteps } = run as Run;
    (run as Run).sweep = sweep.data.id;
    this.began = performance.now() - 1000 * row.seconds;
    Object.assign(row, { id, totalSteps, status: 'running' });
    sweep.tell('begin');
  }

  override on_step_end(_: unknown, __: unknown, ___: unknown, { run }: CallbackContext): void {
    const { series, step, memory, pausedSeconds, status } = run as Run;
    const { loss, eval_loss } = series;
    const seconds = (performance.now() - this.began) / 1000 - pausedSeconds;
    Object.assign(this.row, { status, step, loss, eval_loss, seconds, peakBytes: Math.max(this.row.peakBytes, memory.residentBytes) });
    this.sweep.tell('step');
  }

  /** A name that is no figure is told by the first evaluation there is, not when the run is over. */
  override on_evaluate(_: TrainingOptions, { global_step }: TrainerState, __: unknown, { metrics }: CallbackContext): void {
    this.evaluated = { step: global_step, metrics };
    const { score } = this.sweep;
    if (typeof score === 'string' && score !== 'loss') scoreIn(metrics, score);
  }

  /** What a trained run is compared by. Its model is the one that is saved. */
  async scoreOf(trainer: SFTTrainer): Promise<number> {
    const { row, evaluated } = this;
    const { score } = this.sweep;
    if (typeof score === 'function') return score(trainer);
    if (score === 'loss') {
      const last = row.loss.slice(-Math.ceil(row.loss.length / 10));
      return last.reduce((sum, [, value]) => sum + value, 0) / last.length;
    }
    // Of the best checkpoint the last evaluation is not.
    const isNow = evaluated?.step === row.step && !trainer.args.load_best_model_at_end;
    const metrics = isNow ? evaluated.metrics : await trainer.evaluate();
    if (!trainer.args.load_best_model_at_end && !row.eval_loss.some(([step]) => step === row.step))
      row.eval_loss = [...row.eval_loss, [row.step, metrics.eval_loss]];
    return scoreIn(metrics, score);
  }
}

function scoreIn(metrics: Record<string, number>, score: string): number {
  const name = figureOf(score, Object.keys(metrics));
  if (name !== undefined) return metrics[name];
  throw new ScoreError(`sweep: score = ${show(score)} is no figure of evaluations; these have ${Object.keys(metrics).join(', ')}.`);
}

/** The values of a model that is trained whole, to begin every run with the same, and to leave it as it was. */
export class Kept {
  private readonly values: Map<string, tf.Tensor>;
  constructor(private readonly model: CausalLM) {
    this.values = new Map([...model.namedParameters()].map(([name, { tensor }]) => [name, tf.add(tensor, 0)]));
  }

  back(): void {
    for (const [name, parameter] of this.model.namedParameters()) {
      const value = this.values.get(name);
      if (value) parameter.assign(tf.add(value, 0));
    }
  }

  dispose(): void {
    for (const value of this.values.values()) value.dispose();
  }
}
