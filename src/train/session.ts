import { basename, join } from 'node:path';
import { FileError, InterruptedError, type TrainingError } from '../core/errors';
import { emit } from '../core/events';
import { turn } from '../core/interrupt';
import { figuresHtml, shownAs } from '../core/shown';
import { memoryUsage } from '../engine/memory';
import { globalNorm } from '../engine/ops/adamw';
import { plainError } from '../engine/plain_error';
import type { Precision } from '../engine/precision';
import type { CallbackContext, CallbackHandler, HookName, TrainerControl } from './callbacks/callback';

import { Course } from './course';
import { notFinite, RunError, rescue, unfinished, unsaved } from './endings';
import { GradientCheck, notNumbers } from './gradient_check';
import { countForFlos, stepGradients, type TrainedModel } from './gradients';
import type { Handle } from './handle';
import { needsOf, type Plan, planMicroBatches } from './micro_batches';
import { lengthOf } from './objective';
import type { Optimizer } from './optimizers';
import { originOf } from './output_dir';
import type { TrainerParts } from './parts';
import { ON_PLATEAU, Plateau } from './plateau';
import { answer } from './requests';
import { during, newRun, note, optionsOf, plot, type Run, tell, warn } from './run';
import { rateFactor } from './schedules';
import { resumeFrom, writeCheckpoint } from './session_checkpoint';
import { figuresOfRun, newState, type TrainerState, type TrainOutput } from './state';
import { Tally } from './tally';
import type { Trainer } from './trainer';

export interface SessionParts<M extends TrainedModel, E> {
  trainer: Trainer<M, E>;
  parts: TrainerParts<M, E>;
  handle: Handle;
  callbacks: CallbackHandler;
  control: TrainerControl;
  optimizer: Optimizer;
  precision: Precision;
  call: (hook: HookName, more?: Partial<CallbackContext>) => Promise<void>;
}

/** One call of `train`: a step at a time, and between them what callbacks and requests ask for. */
export class Session<M extends TrainedModel, E> {
  readonly run: Run;
  readonly state: TrainerState;
  precision: Precision;
  readonly course: Course;
  /** The schedule's factor on the rate of the step after so many. */
  private readonly factorAt: (step: number) => number;
  plan: Plan;
  resumedFrom?: string;
  private firstStep = 0;
  private lossSum = 0;
  readonly tally = new Tally();
  private last = { lr: 0, norm: 0 };
  readonly plateau?: Plateau;
  private readonly check = new GradientCheck();
  /** What total_flos counts with. */
  private readonly parameters: number;

  constructor(readonly its: SessionParts<M, E>) {
    const { args, objective, train, model } = its.parts;
    this.precision = its.precision;
    const tokens = train.map((row) => lengthOf(objective, row));
    this.course = new Course(args, tokens);
    this.state = newState(args, this.course.length);
    const factor = rateFactor(args, this.course.length);
    if (args.lr_scheduler_type === ON_PLATEAU) this.plateau = new Plateau(args);
    this.factorAt = (step) => factor(step) * (this.plateau?.state.factor ?? 1);
    this.run = newRun(args.run_name ?? basename(args.output_dir), args.output_dir, this.state.max_steps, optionsOf(args, model));
    this.parameters = countForFlos(model);
    const longest = tokens.reduce((most, n) => Math.max(most, n), 0);
    this.plan = planMicroBatches(args, needsOf(model, longest, this.precision));
  }

  /** Trains to the end, or until stopped. A callback that fails ends it, with what was trained saved. */
  async train(checkpoint: string | null): Promise<TrainOutput> {
    const { trainer, call, handle } = this.its;
    try {
      if (checkpoint) await resumeFrom(this, checkpoint);
      const before = checkpoint ? originOf(checkpoint).runs : undefined;
      trainer.lineage = [...(before ?? []), [this.run.id, this.run.step]];
      trainer.state = this.state;
      await call('on_train_begin');
      tell(this.run, handle, 'begin');
      const began = performance.now();
      this.firstStep = this.run.step;
      if (this.its.parts.args.eval_on_start && !this.run.step) await trainer.evaluate();
      while (!this.isOver && !handle.stopWanted && !this.its.control.should_training_stop) await this.advance();
      if (handle.endWanted) throw new InterruptedError('Ended by a second interrupt, without saving.');
      return await this.finish(began);
    } catch (error) {
      throw error instanceof RunError ? await this.rescued(error) : plainError(error as Error);
    }
  }

  private get isOver(): boolean {
    return this.course.isOver(this.run.step);
  }

  get folder(): string {
    return join(this.its.parts.args.output_dir, `checkpoint-${this.run.step}`);
  }

  /** A step with all that comes before the next. */
  private async advance(): Promise<void> {
    const { run, course, its } = this;
    const { call, handle, control } = its;
    const epochEnds = () => Number.isInteger(course.epoch(run.step));
    if (course.turn(run.step)) await call('on_epoch_begin');
    await call('on_step_begin');
    await this.step();
    await call('on_step_end');
    if (epochEnds()) note(run, 'epoch', `epoch ${course.epoch(run.step)} ended: every row was seen once more`);
    tell(run, handle, 'step');
    await this.act();
    if (control.should_epoch_stop) this.course.leaveOut(this.run.step);
    if (epochEnds() || control.should_training_stop) {
      await call('on_epoch_end');
      await this.act();
    }
    await turn();
    run.pausedSeconds += await handle.attend((action, value) => answer(its, this, action, value));
  }

  /** One optimizer step: the gradients of its rows, clipped and applied. */
  async step(): Promise<void> {
    const { run, course } = this;
    const { optimizer, call } = this.its;
    const { args, model, objective, train } = this.its.parts;
    const chosen = course.rows(run.step);
    const start = performance.now();
    const lr = run.peakRate * this.factorAt(run.step);
    const { gradients, loss, metrics } = await stepGradients(
      model,
      objective,
      chosen.map((i) => train[i]),
      { plan: this.plan, precision: this.precision, args, step: run.step, between: () => call('on_substep_end') },
    );
    let norm: number;
    try {
      norm = await globalNorm([...gradients.values()]);
      if (!Number.isFinite(loss) || !Number.isFinite(norm)) throw await this.notFinite(loss, norm, await notNumbers(gradients));
      const unlearned = await this.check.seen(gradients, lr);
      if (unlearned) warn(run, unlearned);
      await call('on_pre_optimizer_step');
      const clip = args.max_grad_norm > 0 ? Math.min(1, args.max_grad_norm / (norm + 1e-6)) : 1;
      optimizer.apply(gradients, lr, clip);
      if ('stepped' in model) model.stepped(run.step, gradients, clip);
    } finally {
      for (const gradient of gradients.values()) gradient.dispose();
    }
    try {
      await call('on_optimizer_step');
    } finally {
      // The weights have changed: whatever a callback thinks of it, the step is done.
      const tokens = chosen.reduce((n, i) => n + course.tokens[i], 0);
      this.count({ loss, ...metrics }, tokens, { lr, norm, speed: tokens / ((performance.now() - start) / 1000) });
    }
  }

  private count(figures: Record<string, number>, tokens: number, { lr, norm, speed }: { lr: number; norm: number; speed: number }): void {
    const { run, state } = this;
    run.step = ++state.global_step;
    state.epoch = this.course.epoch(run.step);
    state.num_input_tokens_seen += tokens;
    state.total_flos += 6 * tokens * this.parameters;
    this.lossSum += figures.loss;
    this.last = { lr, norm };
    const { resident, peak, machine } = memoryUsage();
    run.memory = { residentBytes: resident, peakBytes: peak, machineBytes: machine };
    const all = { ...figures, learning_rate: lr, grad_norm: norm, tokens_per_second: speed, resident_bytes: resident };
    for (const [name, value] of Object.entries(all)) plot(run, name, value);
    this.tally.add(figures);
  }

  /** Does what callbacks have asked for. */
  private async act(): Promise<void> {
    const { control, trainer } = this.its;
    if (control.should_log) await this.log();
    if (control.should_evaluate) await trainer.evaluation();
    if (!control.should_save) return;
    control.should_save = false;
    await this.save().catch((error: Error) => {
      if (!(error instanceof FileError)) throw error;
      warn(this.run, error.message, 'Training goes on without it; free some space before the next checkpoint.');
    });
  }

  /** Logs the means since it was done last; nothing where that was after this step. */
  private async log(): Promise<void> {
    this.its.control.should_log = false;
    const means = this.tally.take();
    if (!means) return;
    const { loss, ...more } = means;
    const { lr, norm } = this.last;
    await this.its.trainer.log({ loss, grad_norm: norm, learning_rate: lr, ...more, num_tokens: this.state.num_input_tokens_seen });
  }

  /** Told what an evaluation came to that was due. */
  measured(metrics: Record<string, number>): void {
    this.plateau?.measured(metrics);
  }

  /** Sets what the schedule's curve is multiplied with from the next step on. */
  setRate(rate: number): void {
    const { run } = this;
    const factor = this.factorAt(run.step);
    const { lr_scheduler_type: schedule } = this.its.parts.args;
    const from = `learning rate from ${run.peakRate} to ${rate}`;
    const now = Number((rate * factor).toPrecision(3));
    const text = factor === 1 ? from : `peak ${from}: the schedule (${schedule}) makes it ${now} at step ${run.step + 1}`;
    note(run, 'learning_rate', text);
    run.peakRate = rate;
  }

  async save(): Promise<string> {
    const folder = await during(this.run, this.its.handle, `saving ${basename(this.folder)}`, () => writeCheckpoint(this));
    await this.its.call('on_save');
    tell(this.run, this.its.handle, 'change');
    return folder;
  }

  private async finish(began: number): Promise<TrainOutput> {
    const { run, its, firstStep, lossSum } = this;
    const { max_steps: total } = this.state;
    const stopped = !this.isOver;
    const isDue = stopped || (['steps', 'epoch'].includes(its.parts.args.save_strategy) && run.checkpoints.at(-1) !== this.folder);
    const saved = isDue ? await this.save().catch(unsaved) : (run.checkpoints.at(-1) ?? null);
    const steps = run.step - firstStep;
    const seconds = (performance.now() - began) / 1000 - run.pausedSeconds;
    const metrics = figuresOfRun({ steps, seconds, lossSum, rowsPerStep: this.course.length.rowsPerStep, flos: this.state.total_flos });
    await its.trainer.log(metrics);
    await its.call('on_train_end');
    const by = its.handle.stopWanted || !its.callbacks.stoppedBy ? '' : ` by ${its.callbacks.stoppedBy}`;
    await its.trainer.end(
      stopped ? 'stopped' : 'finished',
      stopped ? `stopped${by} after step ${run.step}; saved ${saved}` : `finished ${run.step} steps`,
    );
    if (run.step < total)
      emit('progress', { id: `train ${run.id}`, text: unfinished(run.step, total, { saved: stopped ? saved : null, by }), done: true });
    const output = { global_step: run.step, training_loss: metrics.train_loss, stopped, checkpoint: saved, metrics };
    return shownAs(output, () => figuresHtml(output));
  }

  /** The error of a step whose figures cannot be stepped by; what came before is saved. */
  private async notFinite(loss: number, norm: number, where: string): Promise<TrainingError> {
    const { run } = this;
    const [what, value]: [string, number] = Number.isFinite(loss) ? ['gradient norm', norm] : ['loss', loss];
    note(run, 'nan', `the ${what} of step ${run.step + 1} is not a number`);
    const saved = run.step > 0 ? await writeCheckpoint(this).catch(() => run.checkpoints.at(-1) ?? null) : null;
    return notFinite(run.step + 1, [what, value], { saved, rate: run.peakRate, where });
  }

  /** The error, with where to find what was trained. */
  private async rescued(error: RunError): Promise<RunError> {
    const { run, folder } = this;
    const isSaved = run.checkpoints.at(-1) === folder;
    error.message += rescue(run.step ? (isSaved ? folder : await writeCheckpoint(this).catch((why: Error) => why)) : null);
    return error;
  }
}
