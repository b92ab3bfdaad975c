import type { Ours } from './state';

type Sum = [sum: number, count: number];

/** Means of figures since they were logged last. */
export class Tally {
  private sums: Record<string, Sum> = {};

  add(figures: Record<string, number>): void {
    for (const [name, value] of Object.entries(figures)) {
      const [sum, count] = this.sums[name] ?? [0, 0];
      this.sums[name] = [sum + value, count + 1];
    }
  }

  /** The means, which begin anew; undefined where nothing was added. */
  take(): Record<string, number> | undefined {
    const means = Object.entries(this.sums).map(([name, [sum, count]]) => [name, sum / count]);
    this.sums = {};
    return means.length ? Object.fromEntries(means) : undefined;
  }

  saved(): Pick<Ours, 'loss_since_log' | 'metrics_since_log'> {
    const { loss, ...metrics } = this.sums;
    return { loss_since_log: loss ?? [0, 0], ...(Object.keys(metrics).length && { metrics_since_log: metrics }) };
  }

  restore({ loss_since_log: loss, metrics_since_log }: Ours): void {
    this.sums = { ...(loss[1] && { loss }), ...metrics_since_log };
  }
}
