import type { Continued, Decoding } from '../generate/decoding';
import { TimedOut } from './faults';
import type { Writer } from './writer';

/** A prompt with the answers to it. */
export interface Job {
  adapter: string;
  prompt: readonly number[];
  answers: Writer[];
  /** Tokens that it may come to, its answers' too. */
  length: number;
  /** Is given the logits at each token of the prompt, in order. */
  prompted?: (logits: Float32Array[]) => void;
  /** When it is given up, by performance.now(). */
  deadline: number;
  cancelled: boolean;
  /** Called once, when all its answers are over or it has failed. */
  done(error?: Error): void;
}

interface Running {
  job: Job;
  /** Where its answers stand in the decoding. */
  sequences: number[];
  /** Tokens of the prompt that the model has read. */
  read: number;
}

/** Logits of a prompt's tokens that are in memory at once. */
const LOGITS_AT_ONCE = 1 << 23;

/** Answers that are written together: they join and leave between the steps of one decoding. */
export class Lane {
  private readonly running: Running[] = [];
  private readonly unused: number[] = [];
  private sequences = 0;

  /** `version`: of the set of adapters that the decoding began with; `adapter`: the one that it is for alone. */
  constructor(
    private readonly decoding: Decoding,
    private readonly version: number,
    private readonly adapter?: string,
  ) {}

  /** Whether a job may join; what is not one op has room for the sequence that it was begun for alone. */
  takes({ adapter }: Job, version: number): boolean {
    return version === this.version && !this.decoding.whyNot && (this.adapter === undefined || this.adapter === adapter);
  }

  get isEmpty(): boolean {
    return !this.running.length;
  }

  /** Answers that are being written. */
  get count(): number {
    return this.running.reduce((n, { job }) => n + job.answers.length, 0);
  }

  /** Tokens that they may come to. */
  get length(): number {
    return this.running.reduce((n, { job }) => n + job.length, 0);
  }

  add(job: Job): void {
    this.running.push({ job, sequences: job.answers.map(() => this.unused.pop() ?? this.sequences++), read: 0 });
  }

  /** One step: a token of each answer, and beside them up to so many tokens of prompts. */
  async step(budget: number): Promise<void> {
    for (const one of [...this.running]) {
      if (one.job.cancelled) this.end(one);
      else if (performance.now() > one.job.deadline) this.end(one, new TimedOut());
    }
    const parts: { part: Continued; one: Running; answer?: Writer }[] = [];
    let left = budget;
    for (const one of this.running) {
      const { job, sequences } = one;
      if (one.read < job.prompt.length) continue;
      for (const [i, answer] of job.answers.entries()) {
        if (answer.finish_reason) continue;
        parts.push({ part: { sequence: sequences[i], tokens: [answer.last], adapter: job.adapter }, one, answer });
        left--;
      }
    }
    for (const one of [...this.running]) {
      const { job, sequences, read } = one;
      if (read === job.prompt.length) continue;
      if (left <= 0 && parts.length) break;
      if (job.prompted) {
        left -= await this.spelled(one, Math.max(1, left));
        continue;
      }
      const tokens = job.prompt.slice(read, read + Math.max(1, left));
      parts.push({ part: { sequence: sequences[0], tokens, adapter: job.adapter }, one });
      left -= tokens.length;
    }
    if (parts.length) await this.run(parts);
    for (const one of [...this.running])
      if (one.read === one.job.prompt.length && one.job.answers.every(({ finish_reason }) => finish_reason)) this.end(one);
  }

  private async run(parts: { part: Continued; one: Running; answer?: Writer }[]): Promise<void> {
    const all = parts.map(({ part }) => part);
    const ends = ({ one, part }: (typeof parts)[number]) => one.read + part.tokens.length === one.job.prompt.length;
    const asked = parts.flatMap((entry) => (entry.answer ? [entry.answer] : ends(entry) ? entry.one.job.answers : []));
    const made: (Float32Array | number)[] = asked.every(({ isFree }) => isFree)
      ? await this.decoding.likeliest(all)
      : await this.decoding.step(all);
    for (const [i, { part, one, answer }] of parts.entries()) {
      if (!answer) one.read += part.tokens.length;
      this.tried(one, () => {
        if (answer) answer.next(made[i]);
        else if (one.read === one.job.prompt.length) this.first(one, made[i]);
      });
    }
  }

  /** What one request asks for may be impossible: that ends it alone. */
  private tried(one: Running, f: () => void): void {
    try {
      f();
    } catch (error) {
      if (this.running.includes(one)) this.end(one, error as Error);
    }
  }

  /** Reads tokens of a prompt whose logits are all asked for; returns how many. */
  private async spelled(one: Running, most: number): Promise<number> {
    const { job, sequences, read } = one;
    const size = this.width ? Math.max(1, Math.floor(LOGITS_AT_ONCE / this.width)) : 1;
    const tokens = job.prompt.slice(read, read + Math.min(most, size));
    const logits = await this.decoding.every({ sequence: sequences[0], tokens: [...tokens], adapter: job.adapter });
    this.width = logits[0].length;
    job.prompted?.(logits);
    one.read += tokens.length;
    if (one.read === job.prompt.length) this.tried(one, () => this.first(one, logits[logits.length - 1]));
    return tokens.length;
  }
  private width = 0;

  /** The prompt has been read: each answer goes on from it. */
  private first({ job, sequences }: Running, made: Float32Array | number): void {
    for (const [i, answer] of job.answers.entries()) {
      answer.begun();
      if (answer.finish_reason) continue;
      if (i) this.decoding.copy(sequences[0], sequences[i]);
      answer.next(typeof made === 'number' || job.answers.length === 1 ? made : made.slice());
    }
  }

  private end(one: Running, error?: Error): void {
    this.running.splice(this.running.indexOf(one), 1);
    for (const sequence of one.sequences) {
      this.decoding.release(sequence);
      this.unused.push(sequence);
    }
    one.job.done(error);
  }

  /** Gives up all that is in it; what it keeps of them goes in the next step. */
  cancel(error: Error): void {
    for (const { job } of this.running) {
      job.cancelled = true;
      job.done(error);
    }
  }

  /** Ends all that is in it, and itself. */
  close(error?: Error): void {
    for (const { job } of this.running.splice(0)) job.done(error);
    this.decoding.dispose();
  }
}
