import { rowOrder } from '../data/order';
import type { TrainingOptions } from './config';
import { type Length, lengthOfRun } from './state';

/** Which rows each step takes, epoch by epoch. */
export class Course {
  readonly length: Length;
  /** Steps of epochs that a callback ended. */
  leftOut = 0;
  private order?: { epoch: number; rows: number[] };

  /** `tokens`: how many each row has. */
  constructor(
    private readonly args: TrainingOptions,
    readonly tokens: number[],
  ) {
    this.length = lengthOfRun(args, tokens.length);
  }

  /** What a run must have in common with another to go on from it. */
  get fingerprint(): string {
    const { data_seed, seed, train_sampling_strategy: strategy } = this.args;
    const { rowsPerStep, rowsPerEpoch } = this.length;
    const fewer = rowsPerEpoch < this.tokens.length ? `, ${rowsPerEpoch} of them an epoch` : '';
    return `${this.tokens.length} rows${fewer}, ${rowsPerStep} a step, seed ${data_seed ?? seed}${strategy === 'random' ? '' : `, ${strategy}`}`;
  }

  /** Epochs that are behind when `step` steps are done, with the share of the current one. */
  epoch(step: number): number {
    return (step + this.leftOut) / this.length.stepsPerEpoch;
  }

  isOver(step: number): boolean {
    return step + this.leftOut >= this.length.total;
  }

  /** Turns to the epoch that the step after `step` is in; whether that is another than before. */
  turn(step: number): boolean {
    const epoch = Math.floor(this.epoch(step));
    if (this.order?.epoch === epoch) return false;
    const { train_sampling_strategy: strategy, data_seed, seed } = this.args;
    this.order = { epoch, rows: rowOrder(strategy, this.tokens, this.length.rowsPerStep, data_seed ?? seed, epoch) };
    return true;
  }

  /** The rows of the step after `step`. */
  rows(step: number): number[] {
    this.turn(step);
    const { rowsPerStep, rowsPerEpoch, stepsPerEpoch } = this.length;
    const from = ((step + this.leftOut) % stepsPerEpoch) * rowsPerStep;
    return this.order?.rows.slice(from, Math.min(from + rowsPerStep, rowsPerEpoch)) ?? [];
  }

  /** Leaves out what is left of an epoch in which `step` steps are done. */
  leaveOut(step: number): void {
    const { stepsPerEpoch } = this.length;
    this.leftOut += (stepsPerEpoch - ((step + this.leftOut) % stepsPerEpoch)) % stepsPerEpoch;
  }
}
