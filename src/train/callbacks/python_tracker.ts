import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { OptionError } from '../../core/errors';
import { pythonJson } from '../../core/json';
import type { TrainingOptions } from '../config';
import { optionsOf, type Run, warn } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';
import { trackedNames } from './figures';

/** At the same place seen from src/train/callbacks and from lib/train/callbacks. */
const SCRIPT = resolve(join(__dirname, '..', '..', '..', 'scripts', 'trackers.py'));
/** Milliseconds that the package may take to write its last figures. */
const PATIENCE = 60_000;

const python = () => process.env.TUNEBOOK_PYTHON ?? 'python3';

interface Answer {
  done?: boolean;
  missing?: string;
  failed?: string;
}

/** Whether Python has this package. */
export const pythonHas = (tool: string): boolean =>
  spawnSync(python(), ['-c', `import importlib.util, sys; sys.exit(importlib.util.find_spec('${tool}') is None)`]).status === 0;

/**
 * A tracker whose files only its own Python package writes well: the package runs beside the training, in a process of its own, and is told of
 * the run as transformers tells it. Training never waits for it, but at the beginning and the end.
 */
export abstract class PythonTracker extends TrainerCallback {
  private child?: ChildProcess;
  private run?: Run;
  private answers: AsyncIterator<string> | undefined;
  private errors = '';
  /** Why Python itself did not start. */
  private fault?: string;

  /** The package, and what it is installed by. */
  protected abstract readonly tool: string;
  /** What its init is given. */
  protected abstract init(args: TrainingOptions, run: Run): Record<string, unknown>;
  /** What its finish is given. */
  protected finish(_: Run): Record<string, unknown> {
    return {};
  }
  protected environment(): Record<string, string> {
    return {};
  }

  override async on_train_begin(
    args: TrainingOptions,
    _: TrainerState,
    __: TrainerControl,
    { run, model }: CallbackContext,
  ): Promise<void> {
    this.run = run as Run;
    this.errors = '';
    this.fault = undefined;
    const child = spawn(python(), ['-u', SCRIPT, this.tool], {
      env: { ...process.env, ...this.environment() },
      stdio: 'pipe',
      detached: true,
    });
    this.child = child;
    child.on('error', (error) => {
      this.fault = error.message;
      this.end(child, error.message);
    });
    child.on('exit', (code, signal) => this.end(child, `it ended with ${signal ?? `exit code ${code}`}`));
    child.stdin.on('error', () => {}); // its end is told by 'exit'
    child.stderr.on('data', (text) => {
      if (this.child === child) this.errors = (this.errors + text).slice(-1000);
    });
    this.answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const config = JSON.parse(JSON.stringify(optionsOf(args, model)));
    this.tell({ init: { ...this.init(args, this.run), config } });
    const { missing, failed } = await this.answer();
    if (missing === undefined && failed === undefined) return;
    this.child = undefined;
    child.kill();
    if (this.fault)
      throw new OptionError(
        `report_to: '${this.tool}' needs Python, and ${python()} does not start (${this.fault}). Install Python 3 with its package ${this.tool}, or name the Python that has it by the environment variable TUNEBOOK_PYTHON.`,
      );
    throw new OptionError(
      missing === undefined
        ? `report_to: '${this.tool}': the package did not take the run: ${failed}.`
        : `report_to: '${this.tool}' needs Python's package ${this.tool}: pip install ${this.tool}, in the Python that is called ${python()} (or name another: TUNEBOOK_PYTHON). ${missing}`,
    );
  }

  override on_log(_: TrainingOptions, { global_step: step }: TrainerState, __: TrainerControl, { logs }: CallbackContext): void {
    this.tell({ log: { ...trackedNames(logs), 'train/global_step': step }, step });
  }

  override async run_over(run: Run): Promise<void> {
    const { child } = this;
    if (!child) return;
    this.tell({ finish: this.finish(run) });
    const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE);
    const { failed } = await this.answer();
    clearTimeout(late);
    if (failed) this.end(child, failed);
    this.child = undefined;
    child.stdin?.end();
  }

  private tell(message: object): void {
    if (this.child) this.child.stdin?.write(`${pythonJson(message)}\n`);
  }

  private async answer(): Promise<Answer> {
    const { value, done } = (await this.answers?.next()) ?? { value: '', done: true };
    return done ? { failed: `it ended. ${this.errors.trim().split('\n').slice(-3).join(' ')}` } : JSON.parse(value);
  }

  /** It is gone before its time: training goes on. Of an earlier run's child it is no news. */
  private end(child: ChildProcess, why: string): void {
    if (this.child !== child || !this.run) return;
    this.child = undefined;
    if (this.run.step)
      warn(this.run, `${this.tool} keeps no log of this run any more (${why}). The figures are in log.jsonl too; training goes on.`);
  }
}
