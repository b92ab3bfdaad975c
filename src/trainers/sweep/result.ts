import { inspect } from 'node:util';
import { rowLines, tableHtml } from '../../core/html';
import { DISPLAY, type Shown } from '../../core/shown';
import type { SweepData, SweepRun } from './record';

/** What a sweep has come to. As a cell's last value it shows itself as a table. */
export class SweepResult {
  constructor(readonly data: SweepData) {}

  get runs(): SweepRun[] {
    return this.data.runs;
  }

  /** The run with the best score; undefined where none has one. Its adapter is in its folder. */
  get best(): SweepRun | undefined {
    return this.data.best === null ? undefined : this.data.runs[this.data.best];
  }

  /** A row for each run: what was tried, what came of it. */
  rows(): Record<string, string | number>[] {
    const { vary, runs, score: name, best } = this.data;
    return runs.map(({ values, status, step, parameters, seconds, peakBytes, loss, score }, i) => ({
      ...Object.fromEntries(vary.map((option, at) => [option, values[at]])),
      status: `${status}${i === best ? ', best' : ''}`,
      steps: step,
      parameters,
      'time (s)': Math.round(seconds),
      'memory (MiB)': Math.round(peakBytes / 2 ** 20),
      loss: Number(loss.at(-1)?.[1].toPrecision(4) ?? Number.NaN),
      ...(name !== 'loss' && { [name]: score === null ? '' : Number(score.toPrecision(4)) }),
    }));
  }

  [inspect.custom](): string {
    const { best, data } = this;
    return [
      `Sweep of ${data.vary.join(', ')}: ${data.status}`,
      ...rowLines(this.rows()),
      best ? `best: ${best.name} (${data.score} ${best.score}), saved in ${best.folder}` : 'no run has a score',
    ].join('\n');
  }

  [DISPLAY](): Shown {
    return { 'text/plain': inspect(this), 'text/html': tableHtml(this.rows()) };
  }
}
