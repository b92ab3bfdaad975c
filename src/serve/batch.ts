import { type Decodes, startDecoding } from '../generate/decoding';
import { Busy, NoSuchAdapter, TimedOut } from './faults';
import { type Job, Lane } from './lane';

/** What is written together is bounded by these. */
export interface Bounds {
  max_num_seqs: number;
  max_num_batched_tokens: number;
  max_num_waiting: number;
  /** Tokens whose keys and values may be kept at once. */
  tokens: number;
}

/** The adapters that there are now, by the names that the model knows them by. */
export interface Loaded {
  readonly version: number;
  readonly names: string[];
}

/**
 * Continuous batching: requests wait in the order in which they came; as soon as there is room, one joins those that are being written, and
 * its prompt is read in pieces beside their tokens (Yu et al., 2022, Orca).
 */
export class Batch {
  private readonly waiting: Job[] = [];
  private lanes: Lane[] = [];
  private working?: Promise<void>;
  private closed = false;

  constructor(
    private readonly model: Decodes,
    private readonly loaded: Loaded,
    readonly bounds: Bounds,
  ) {}

  /** Answers that wait, and that are being written. */
  get counts(): { waiting: number; running: number; tokens: number } {
    return {
      waiting: this.waiting.reduce((n, { answers }) => n + answers.length, 0),
      running: this.lanes.reduce((n, lane) => n + lane.count, 0),
      tokens: this.lanes.reduce((n, lane) => n + lane.length, 0),
    };
  }

  /** Takes jobs that belong together: all of them or none. */
  add(jobs: Job[]): void {
    if (this.closed) throw new Busy('The server is closing.');
    if (this.waiting.length + jobs.length > this.bounds.max_num_waiting)
      throw new Busy(`${this.waiting.length} requests are waiting already, which is as many as may (max_num_waiting). Try again later.`);
    this.waiting.push(...jobs);
    this.working ??= this.work().finally(() => {
      this.working = undefined;
    });
  }

  private async work(): Promise<void> {
    while (this.waiting.length || this.lanes.length) {
      this.admit();
      for (const lane of this.lanes) await this.stepped(lane);
      this.lanes = this.lanes.filter((lane) => {
        if (lane.isEmpty) lane.close();
        return !lane.isEmpty;
      });
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  private async stepped(lane: Lane): Promise<void> {
    try {
      await lane.step(this.bounds.max_num_batched_tokens);
    } catch (error) {
      this.lanes = this.lanes.filter((other) => other !== lane);
      lane.close(error as Error);
    }
  }

  private admit(): void {
    for (const job of this.waiting.filter(({ cancelled, deadline }) => cancelled || performance.now() > deadline)) {
      this.waiting.splice(this.waiting.indexOf(job), 1);
      job.done(job.cancelled ? undefined : new TimedOut());
    }
    const { max_num_seqs, tokens: most } = this.bounds;
    while (this.waiting.length) {
      const [job] = this.waiting;
      const { running, tokens } = this.counts;
      if (running && (running + job.answers.length > max_num_seqs || tokens + job.length > most)) return;
      this.waiting.shift();
      try {
        this.laneFor(job).add(job);
      } catch (error) {
        job.done(error as Error);
      }
    }
  }

  private laneFor(job: Job): Lane {
    const { version, names } = this.loaded;
    // Its owner may have taken it off the model: one that begins without it would fail for all.
    if (!names.includes(job.adapter)) throw new NoSuchAdapter('The adapter that was asked for has been taken off the model.');
    const open = this.lanes.find((lane) => lane.takes(job, version));
    if (open) return open;
    let [decoding, adapter] = [startDecoding(this.model, job.length, names), undefined as string | undefined];
    // Where one adapter cannot go through one op, others may.
    if (decoding.whyNot && names.length > 1) {
      decoding.dispose();
      [decoding, adapter] = [startDecoding(this.model, job.length, [job.adapter]), job.adapter];
    }
    const lane = new Lane(decoding, version, adapter);
    this.lanes.push(lane);
    return lane;
  }

  /** No more are taken; resolves when those that are there are done, at the latest after so many seconds. */
  async close(seconds: number): Promise<void> {
    this.closed = true;
    const late = setTimeout(() => this.cancel(), 1000 * seconds);
    await this.working;
    clearTimeout(late);
  }

  private cancel(): void {
    const error = new Busy('The server closed before the answer was written.');
    for (const job of this.waiting.splice(0)) job.done(error);
    for (const lane of this.lanes) lane.cancel(error);
  }
}
