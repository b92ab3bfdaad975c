import { emit } from '../core/events';
import { progressWanted } from './settings';
import { gigabytes } from './transfer';

/** Milliseconds between two lines. */
const PACE = 250;

const span = (seconds: number) =>
  seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;

/** A line of progress over all files of one call: what has come, how fast, how long yet. */
export class Progress {
  private bytes = 0;
  /** Bytes that really came in this call, and since when. */
  private came = 0;
  private begun = Date.now();
  private told = Date.now();
  private said = false;

  constructor(
    private readonly what: string,
    private readonly total: number,
    private readonly verb: { doing: string; done: string } = { doing: 'Downloading', done: 'Downloaded' },
    private readonly shown = true,
  ) {}

  /** `kept` bytes were here before. */
  add(bytes: number, kept = false): void {
    this.bytes += bytes;
    if (!kept) this.came += Math.max(0, bytes);
    else this.begun = this.came ? this.begun : Date.now();
    if (Date.now() - this.told < PACE) return;
    this.told = Date.now();
    const speed = this.came / Math.max(0.001, (Date.now() - this.begun) / 1000);
    const left = speed > 0 && this.came > 2 ** 20 ? `, ${gigabytes(speed)}/s, ${span((this.total - this.bytes) / speed)} left` : '';
    this.say(`${this.verb.doing} ${this.what}: ${gigabytes(this.bytes)} of ${gigabytes(this.total)}${left}`, false);
  }

  end(): void {
    if (this.said || this.came > 1e6) this.say(`${this.verb.done} ${this.what}: ${gigabytes(this.total)}`, true);
  }

  private say(text: string, done: boolean): void {
    this.said = true;
    if (this.shown && progressWanted()) emit('progress', { id: `${this.verb.doing} ${this.what}`, text, done });
  }
}
