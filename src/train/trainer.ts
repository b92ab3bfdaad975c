import { inspect } from 'node:util';
import { InterruptedError, OptionError } from '../core/errors';
import { emit } from '../core/events';
import { DISPLAY, figuresHtml, optionsShown, type Shown, shownAs } from '../core/shown';
import { plainError } from '../engine/plain_error';
import type { Precision } from '../engine/precision';
import type { GivenPush } from '../hub/push';
import type { Pushed } from '../hub/upload';
import type { PretrainedModel } from '../models/pretrained';
import { hold } from '../peft/hold';
import { baseOf } from '../peft/model';
import { checkMetricName } from './best';
import { firstCallbacks, lastCallbacks } from './callbacks';
import {
  type CallbackContext,
  CallbackHandler,
  type CallbackLike,
  type HookName,
  type TrainerCallback,
  TrainerControl,
} from './callbacks/callback';
import { checkWritable, faultOf } from './checkpoint';
import type { TrainingOptions } from './config';
import { NOTHING_TO_EVALUATE, RunError } from './endings';
import { measured } from './evaluation';
import type { TrainedModel } from './gradients';
import { groupsOf } from './groups';
import { Handle } from './handle';
import type { Metrics } from './objective';
import { OPTIMIZERS, Optimizer } from './optimizers';
import { findCheckpoint, type Lineage, tidy } from './output_dir';
import type { TrainerParts } from './parts';
import { choosePrecision } from './precision';
import { publish, writeCard } from './publish';
import { during, isOver, plotLogs, type Run, tell } from './run';
import { samplesOf } from './samples';
import { Session } from './session';
import { lengthOfRun, newState, type TrainerState, type TrainOutput } from './state';

/**
 * Trains a model on rows by an objective: batches in a seeded order, gradients summed over micro-batches and normalised by what the
 * rows of a step weigh, clipping, optimizer, schedule. What happens besides (logs, evaluations, checkpoints, the line of progress) is
 * done by callbacks, and by those that are given.
 */
export class Trainer<M extends TrainedModel = TrainedModel, E = never> {
  readonly model: M;
  /** What runs forward: the model itself, or the one that the adapter stands beside. */
  private readonly base: PretrainedModel;
  readonly args: TrainingOptions;
  /** The run that `train` is on or was last on. */
  run?: Run;
  state: TrainerState;
  readonly control = new TrainerControl();
  readonly callback_handler: CallbackHandler;
  /** What led to the run that `train` is on or was last on. */
  lineage: Lineage = [];
  /** What can be asked of the run while it is on. */
  private readonly handle = new Handle();
  private readonly precision: Precision;
  private session?: Session<M, E>;
  private optimizer?: Optimizer;
  private readonly ready: Promise<void>;

  constructor(protected readonly parts: TrainerParts<M, E>) {
    const { model, args, train } = parts;
    if (args.eval_strategy !== 'no' && !parts.eval?.length)
      throw new OptionError(
        `eval_strategy = '${args.eval_strategy}' needs rows to evaluate on, but there is no eval_dataset. Give the trainer one, or set eval_strategy to 'no'.`,
      );
    checkMetricName('metric_for_best_model', args.metric_for_best_model, parts);
    this.model = model;
    this.base = baseOf<PretrainedModel>(model);
    this.args = args;
    this.precision = choosePrecision(args.bf16);
    this.state = newState(args, lengthOfRun(args, train.length));
    this.callback_handler = new CallbackHandler(firstCallbacks(args.report_to), parts.callbacks ?? [], lastCallbacks());
    this.ready = this.call('on_init_end');
    this.ready.catch(() => {}); // `train` says it
  }

  [inspect.custom](): string {
    return `${this.constructor.name}(${inspect(this.shown, { breakLength: 100 })})`;
  }

  [DISPLAY](): Shown {
    return { 'text/plain': inspect(this), 'text/html': optionsShown(this.constructor.name, this.shown)['text/html'] };
  }

  private get shown() {
    const { args, state, run, parts } = this;
    const { train, eval: test } = parts;
    return {
      status: run?.status ?? 'not begun',
      step: `${state.global_step} of ${state.max_steps}`,
      model: this.base.config._name_or_path,
      train_rows: train.length,
      eval_rows: test?.length ?? 0,
      output_dir: args.output_dir,
    };
  }

  /** Adds a callback, or one of a class, to those that are told of runs. */
  add_callback(callback: CallbackLike): void {
    this.callback_handler.add(callback);
  }

  /** Takes a callback out, or the first of a class, and returns it; undefined where there is none. */
  pop_callback(callback: CallbackLike): TrainerCallback | undefined {
    return this.callback_handler.pop(callback);
  }

  /** Takes a callback out, or the first of a class. */
  remove_callback(callback: CallbackLike): void {
    this.callback_handler.pop(callback);
  }

  private call(hook: HookName, more: Partial<CallbackContext> = {}): Promise<void> {
    const { model, tokenizer: processing_class, train: train_dataset, eval: eval_dataset } = this.parts;
    const now = this.session && { run: this.run, optimizer: this.optimizer };
    const context = { model, processing_class, train_dataset, eval_dataset, trainer: this, metrics: {}, logs: {}, ...now, ...more };
    return this.callback_handler.call(hook, this.args, this.state, this.control, context);
  }

  /** Ends the run after the step it is in; resolves when its checkpoint is saved, and names it. */
  stop(): Promise<string> {
    return this.handle.open ? this.handle.ask('stop') : Promise.resolve('No run is on.');
  }

  /** Halts the run after the step it is in; nothing is lost, and its model can be used meanwhile. */
  pause(): Promise<string> {
    return this.handle.ask('pause');
  }

  /** Goes on with a run that was paused. */
  resume(): Promise<string> {
    return this.handle.ask('resume');
  }

  /** Sets the rate that the schedule's curve is multiplied with, from the next step on. */
  setLearningRate(rate: number): Promise<string> {
    return this.handle.ask('learning_rate', rate);
  }

  /**
   * Asks the model a question of one's own between two steps; the answer, and what the model says without its adapter, stand beside the plot.
   * Resolves when it is there; an OptionError where no run is on.
   */
  ask(question: string): Promise<string> {
    return this.handle.ask('ask', question);
  }

  /** Writes on from the trainer's prompts (sample_prompts, or the first rows' own) with the model as it is now; greedy. */
  sample({ max_new_tokens = 48 }: { max_new_tokens?: number } = {}): Promise<Run['samples']> {
    const { tokenizer, prompts, model } = this.parts;
    const write = () => samplesOf({ model, tokenizer, max_new_tokens }, prompts, this.run?.step ?? 0);
    return this.showing(`generating ${prompts.length === 1 ? 'a sample' : `${prompts.length} samples`}`, write);
  }

  /** What is being worked on is told of the run that is on, if one is. */
  private showing<T>(doing: string, f: () => Promise<T>): Promise<T> {
    return this.session && this.run ? during(this.run, this.handle, doing, f) : f();
  }

  /**
   * Trains to the end, or until stopped. `resume_from_checkpoint`: a path, or true for the newest checkpoint in output_dir of this
   * trainer's own run, or of the run that saved there last.
   */
  async train({
    resume_from_checkpoint: resume = this.args.resume_from_checkpoint,
  }: {
    resume_from_checkpoint?: string | boolean | null;
  } = {}): Promise<TrainOutput> {
    if (this.session) throw new OptionError('This trainer is already training. Stop it first (interrupt its cell, or trainer.stop()).');
    const free = hold(this.base);
    try {
      return await this.carryOut(resume);
    } catch (error) {
      throw plainError(error as Error); // the optimizer's state, too, may be what memory is short of
    } finally {
      free();
    }
  }

  private async carryOut(resume: string | boolean | null): Promise<TrainOutput> {
    const { args, parts, handle, control, model } = this;
    await this.ready;
    await checkWritable(args.output_dir);
    tidy(args.output_dir);
    if (!model.namedParameters().size)
      throw new OptionError('This trainer has nothing to train any more: its adapter was taken off the model. Make a new trainer.');
    const optimizer = new Optimizer(OPTIMIZERS[args.optim], () => model.namedParameters(), args, groupsOf(args, model));
    handle.begin();
    const onInterrupt = () => emit('progress', { id: 'interrupt', text: handle.interrupt(), done: true });
    process.on('SIGINT', onInterrupt);
    this.optimizer = optimizer;
    try {
      const call = this.call.bind(this);
      this.session = new Session({
        trainer: this,
        parts,
        handle,
        callbacks: this.callback_handler,
        control,
        optimizer,
        precision: this.precision,
        call,
      });
      const fault = (path: string) => faultOf(path, model.weightsFile);
      const checkpoint = resume ? await findCheckpoint(resume, args.output_dir, this.lineage, fault) : null;
      this.run = this.session.run;
      return await this.session.train(checkpoint);
    } catch (error) {
      const status = error instanceof InterruptedError ? 'stopped' : 'failed';
      if (this.run && !isOver(this.run)) await this.end(status, (error as Error).message);
      throw error;
    } finally {
      process.off('SIGINT', onInterrupt);
      optimizer.dispose();
      handle.end(this.run ? (this.run.events.at(-1)?.text ?? `step ${this.run.step}`) : 'it did not begin');
      this.session = undefined;
      this.optimizer = undefined;
    }
  }

  /**
   * What the objective says of the evaluation rows: their loss, perplexity, ... In a run it is logged and plotted; the best metric, early
   * stopping and the schedule count only the evaluations that the run makes by its own options.
   */
  async evaluate(): Promise<Metrics> {
    const { should_log, should_evaluate } = this.control;
    const metrics = await this.evaluation({ beside: true });
    Object.assign(this.control, { should_log, should_evaluate }); // what was due before still is
    return metrics;
  }

  /** An evaluation that is due, or one asked for beside those. */
  async evaluation({ beside = false } = {}): Promise<Metrics> {
    const { eval: rows } = this.parts;
    if (!rows?.length) throw new (this.session ? RunError : OptionError)(NOTHING_TO_EVALUATE);
    const metrics = await this.showing(`evaluating on ${rows.length} rows`, () => this.measure(rows));
    if (this.session)
      await this.log(Object.fromEntries(Object.entries(metrics).filter(([name]) => name.startsWith('eval_') && name !== 'eval_tokens')));
    await this.call('on_evaluate', { metrics, beside });
    if (!beside) this.session?.measured(metrics);
    if (this.session && this.run) tell(this.run, this.handle, 'change');
    return shownAs(metrics, () => figuresHtml(metrics));
  }

  /** What the evaluation rows come to now, the user's own figures too. */
  private measure(rows: E[]): Promise<Metrics> {
    const { session, state } = this;
    const after = () => this.call('on_prediction_step');
    const precision = session?.precision ?? this.precision;
    return measured(this.parts, rows, {
      precision,
      after,
      during: session && { step: state.global_step, tokens: state.num_input_tokens_seen },
    });
  }

  /** Adds figures to the log, with the step they are of; while training they are plotted too. */
  async log(logs: Record<string, number>): Promise<void> {
    const entry = { ...logs, epoch: this.state.epoch };
    this.state.log_history.push({ ...entry, step: this.state.global_step });
    if (this.session && this.run) plotLogs(this.run, logs);
    await this.call('on_log', { logs: entry });
  }

  /** Saves adapter (or the whole model, where that is trained) and tokenizer as PEFT and transformers do; by default into output_dir. */
  async save_model(folder = this.args.output_dir): Promise<void> {
    await checkWritable(folder);
    await this.model.save_pretrained(folder);
    await this.parts.tokenizer.save_pretrained(folder);
  }

  /** Writes README.md with the run's settings and figures, and its picture (training.png), into a folder; by default output_dir. */
  create_model_card(folder = this.args.output_dir, repo?: string): Promise<void> {
    return writeCard(folder, this, repo);
  }

  /** Saves model and tokenizer into output_dir and pushes them, with a card of the run, to hub_model_id, by default named as output_dir. */
  push_to_hub(options: string | GivenPush = {}): Promise<Pushed> {
    return publish(this, options);
  }

  /** The run is over: callbacks and views are told how it ended. */
  async end(status: Run['status'], text: string): Promise<void> {
    const run = this.run as Run;
    run.status = status;
    await this.callback_handler.over(run, text);
    if (status === 'stopped' || status === 'failed') run.events.push({ step: run.step, kind: status, text });
    tell(run, this.handle, 'end');
  }
}
