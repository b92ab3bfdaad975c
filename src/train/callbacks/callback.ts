import { InterruptedError, nearest, OptionError } from '../../core/errors';
import { warnOnce } from '../../core/events';
import { show } from '../../core/options';
import type { Tokenizer } from '../../tokenizers/tokenizer';
import type { TrainingOptions } from '../config';
import { RunError } from '../endings';
import type { TrainedModel } from '../gradients';
import type { Optimizer } from '../optimizers';
import { type Run, warn } from '../run';
import type { TrainerState } from '../state';
import type { Trainer } from '../trainer';

/** What a callback may ask for by setting it; the trainer sets it back when it has done so. */
export class TrainerControl {
  should_training_stop = false;
  should_epoch_stop = false;
  should_save = false;
  should_evaluate = false;
  should_log = false;
}

/** What a hook gets besides, as transformers' keyword arguments. */
export interface CallbackContext {
  model: TrainedModel;
  processing_class: Tokenizer;
  /** Undefined outside `train`. */
  optimizer?: Optimizer;
  train_dataset: readonly unknown[];
  eval_dataset?: readonly unknown[];
  trainer: Pick<
    Trainer,
    'sample' | 'evaluate' | 'log' | 'save_model' | 'create_model_card' | 'push_to_hub' | 'stop' | 'setLearningRate' | 'lineage'
  >;
  /** What the views show of the run; undefined outside `train`. */
  run?: Run;
  /** on_evaluate: what it came to. */
  metrics: Record<string, number>;
  /** on_log: what is logged. */
  logs: Record<string, number>;
  /** on_evaluate: it was asked for beside those that are due, by a button or a call of evaluate; what training depends on does not count it. */
  beside?: boolean;
}

type Given = [args: TrainingOptions, state: TrainerState, control: TrainerControl, context: CallbackContext];
// biome-ignore lint/suspicious/noConfusingVoidType: of a hook that returns nothing
type Returned = void | TrainerControl | Promise<void | TrainerControl>;

/** What is set back before anyone is told of a moment. */
const HOOKS = {
  on_init_end: [],
  on_train_begin: ['should_training_stop'],
  on_train_end: [],
  on_epoch_begin: ['should_epoch_stop'],
  on_epoch_end: [],
  on_step_begin: ['should_log', 'should_evaluate', 'should_save'],
  on_substep_end: [],
  on_pre_optimizer_step: [],
  on_optimizer_step: [],
  on_step_end: [],
  on_evaluate: ['should_evaluate'],
  on_prediction_step: [],
  on_save: ['should_save'],
  on_log: ['should_log'],
} satisfies Record<string, (keyof TrainerControl)[]>;
export type HookName = keyof typeof HOOKS;
/** Of transformers' trainer alone: it predicts and pushes to a hub. */
const ELSEWHERE = ['on_predict', 'on_push_begin'];

/** What a callback remembers, as transformers keeps it in trainer_state.json: what it is made with, and what it has come to. */
export interface CallbackState {
  args?: Record<string, unknown>;
  attributes: Record<string, unknown>;
}

/**
 * Base of what is told of a run as it goes, as transformers' TrainerCallback: any of its hooks (`on_step_end(args, state, control,
 * { model, ... })`) may be defined, may be async and is awaited. What throws ends the run, after it is saved.
 */
export class TrainerCallback {}
export interface TrainerCallback {
  /** The trainer is made; what is async in it is awaited when training begins. */
  on_init_end?(...given: Given): Returned;
  /** The run begins; nothing was trained yet. */
  on_train_begin?(...given: Given): Returned;
  /** The run has ended, and what is saved at its end is saved. */
  on_train_end?(...given: Given): Returned;
  /** Every row is about to be seen once more. */
  on_epoch_begin?(...given: Given): Returned;
  /** Every row was seen once more. */
  on_epoch_end?(...given: Given): Returned;
  /** Before the gradients of a step are computed. */
  on_step_begin?(...given: Given): Returned;
  /** After each micro-batch of a step but the last. */
  on_substep_end?(...given: Given): Returned;
  /** Gradients are whole and finite; the optimizer has not stepped. */
  on_pre_optimizer_step?(...given: Given): Returned;
  /** The optimizer has stepped; the step does not count yet. */
  on_optimizer_step?(...given: Given): Returned;
  /** The step counts, and its loss is plotted; logs, evaluations and checkpoints that are asked for now follow. */
  on_step_end?(...given: Given): Returned;
  /** `metrics` in the context: what an evaluation came to. */
  on_evaluate?(...given: Given): Returned;
  /** After each batch of an evaluation. */
  on_prediction_step?(...given: Given): Returned;
  /** A checkpoint was written, whole. */
  on_save?(...given: Given): Returned;
  /** `logs` in the context: what is logged. */
  on_log?(...given: Given): Returned;
  /**
   * The run is over, whatever ended it: `run.status` is finished, stopped or failed, `text` says why. on_train_end comes only where a run came
   * to its end by itself or was stopped. What fails in it is a warning.
   */
  run_over?(run: Run, text: string): void | Promise<void>;
  /** What it has to remember when a run is resumed; `attributes` are set again then. */
  state?(): CallbackState;
}

/** A callback, or its class where it is made without arguments; a plain object of hooks will do. */
export type CallbackLike = TrainerCallback | (new () => TrainerCallback);

const nameOf = (callback: TrainerCallback): string => (callback.constructor === Object ? 'object' : callback.constructor.name);

/** A callback that failed: the run saves what it has and ends. */
export class CallbackError extends RunError {
  constructor(callback: TrainerCallback, hook: HookName, step: number, cause: Error) {
    super(`The callback ${nameOf(callback)} failed in ${hook} after step ${step}: ${cause.message}`, { cause });
  }
}

/** Every name of a value's methods, also of the classes that its own extends. */
function* methodsOf(value: object): Generator<string> {
  for (let at = value; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) yield* Object.getOwnPropertyNames(at);
}

/** Makes a callback of what was given; one whose hooks would never be called is refused. */
function made(given: unknown): TrainerCallback {
  const callback = typeof given === 'function' ? new (given as new () => TrainerCallback)() : given;
  if (typeof callback !== 'object' || !callback || Array.isArray(callback))
    throw new OptionError(`callbacks must hold instances or classes of TrainerCallback, but has ${show(given)}.`);
  for (const name of methodsOf(callback)) {
    if (!/^on[_A-Z]/.test(name) || Object.hasOwn(HOOKS, name)) continue;
    if (ELSEWHERE.includes(name)) warnOnce(`The callback ${nameOf(callback)} has ${name}, which this trainer never calls.`);
    else {
      const guess = nearest(name, Object.keys(HOOKS));
      const hint = guess ? `Did you mean ${guess}?` : `There are ${Object.keys(HOOKS).join(', ')}.`;
      throw new OptionError(`The callback ${nameOf(callback)} has ${name}, which is no hook. ${hint}`);
    }
  }
  return callback as TrainerCallback;
}

/** Calls callbacks in their order: `first`, those of the user, `last`. */
export class CallbackHandler {
  private readonly added: TrainerCallback[];
  /** The callback that asked for an end of the run. */
  stoppedBy?: string;

  constructor(
    private readonly first: TrainerCallback[],
    given: readonly unknown[],
    private readonly last: TrainerCallback[],
  ) {
    this.added = given.map(made);
  }

  get callbacks(): TrainerCallback[] {
    return [...this.first, ...this.added, ...this.last];
  }

  add(given: unknown): void {
    const callback = made(given);
    const kind = callback.constructor;
    if (kind !== Object && this.callbacks.some((other) => other.constructor === kind))
      warnOnce(`The trainer has a callback ${kind.name} already; now it has two.`);
    this.added.push(callback);
  }

  /** Takes one out: itself, or the first of a class. */
  pop(wanted: CallbackLike): TrainerCallback | undefined {
    for (const list of [this.first, this.added, this.last]) {
      const at = list.findIndex((callback) => (typeof wanted === 'function' ? callback instanceof wanted : callback === wanted));
      if (at >= 0) return list.splice(at, 1)[0];
    }
    return undefined;
  }

  async call(hook: HookName, args: TrainingOptions, state: TrainerState, control: TrainerControl, context: CallbackContext): Promise<void> {
    if (hook === 'on_train_begin') this.stoppedBy = undefined;
    for (const name of HOOKS[hook]) control[name] = false;
    for (const callback of this.callbacks) {
      if (!callback[hook]) continue;
      const before = control.should_training_stop;
      try {
        const returned = await callback[hook](args, state, control, context);
        if (returned && returned !== control) Object.assign(control, returned);
      } catch (error) {
        if (error instanceof InterruptedError || error instanceof CallbackError) throw error;
        throw new CallbackError(callback, hook, state.global_step, error instanceof Error ? error : new Error(String(error)));
      }
      if (!before && control.should_training_stop) this.stoppedBy = nameOf(callback);
    }
  }

  /** Tells callbacks that the run is over; none of them keeps another from it. */
  async over(run: Run, text: string): Promise<void> {
    for (const callback of this.callbacks)
      try {
        await callback.run_over?.(run, text);
      } catch (error) {
        warn(run, `The callback ${nameOf(callback)} failed in run_over: ${(error as Error).message}`);
      }
  }

  /** What callbacks remember, by class, as transformers lays it out. */
  states(): Record<string, CallbackState | CallbackState[]> {
    const all = new Map<string, CallbackState[]>();
    for (const callback of this.callbacks)
      if (callback.state) all.set(nameOf(callback), [...(all.get(nameOf(callback)) ?? []), callback.state()]);
    return Object.fromEntries([...all].map(([name, states]) => [name, states.length > 1 ? states : states[0]]));
  }

  /** Gives callbacks back what they remembered. */
  restore(saved: Record<string, CallbackState | CallbackState[]>): void {
    const left = new Map(Object.entries(saved).map(([name, states]) => [name, [states].flat()]));
    for (const callback of this.callbacks) {
      if (!callback.state) continue;
      const state = left.get(nameOf(callback))?.shift();
      if (state) Object.assign(callback, state.attributes);
    }
  }
}
