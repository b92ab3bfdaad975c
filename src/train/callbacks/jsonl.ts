import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TrainingOptions } from '../config';
import { withoutToken } from '../hub_options';
import type { Run } from '../run';
import { warn } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** The log of every run in a folder: a line of JSON each. */
const LOG_FILE = 'log.jsonl';

/**
 * Every run's log as lines of JSON in output_dir: its settings when it begins (or goes on), what is logged, how it ended. Lines are only ever
 * added, each with its run's id, so that runs that share a folder keep theirs.
 */
export class JsonLinesCallback extends TrainerCallback {
  private run?: Run;
  private failed = false;

  override on_train_begin(args: TrainingOptions, { global_step }: TrainerState, _: TrainerControl, { run }: CallbackContext): void {
    this.run = run;
    this.failed = false;
    const { name, startedAt, totalSteps } = run as Run;
    this.add(args, { name, started: startedAt, step: global_step, max_steps: totalSteps, config: withoutToken(args) });
  }

  override on_log(args: TrainingOptions, { global_step }: TrainerState, _: TrainerControl, { logs }: CallbackContext): void {
    const speed = this.run?.series.tokens_per_second.at(-1)?.[1];
    const memory = this.run?.memory.residentBytes;
    this.add(args, { step: global_step, ...logs, ...('loss' in logs && { tokens_per_second: speed, resident_bytes: memory }) });
  }

  override run_over({ step, status: ended, folder }: Run, text: string): void {
    this.add({ output_dir: folder }, { step, ended, ...(ended === 'failed' && { error: text }) });
    this.run = undefined;
  }

  private add({ output_dir }: Pick<TrainingOptions, 'output_dir'>, line: object): void {
    if (!this.run || this.failed) return;
    try {
      mkdirSync(output_dir, { recursive: true });
      appendFileSync(join(output_dir, LOG_FILE), `${JSON.stringify({ run: this.run.id, ...line })}\n`);
    } catch (error) {
      this.failed = true;
      warn(this.run, `The log ${join(output_dir, LOG_FILE)} cannot be written: ${(error as Error).message}. Training goes on without it.`);
    }
  }
}
