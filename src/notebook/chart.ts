import { Worker } from 'node:worker_threads';
import type { ChartSpec } from '../../views';

/** What the thread answers. */
export type Drawn = { png: Uint8Array } | { error: string };

/** Draws vega-lite charts as PNGs in a thread of its own: loading vega takes a third of a second, and nothing else waits for it. */
export class ChartThread {
  private readonly worker = new Worker(require.resolve('../../lib/notebook/chart_worker.js'));
  private readonly failed: Promise<never>;

  constructor() {
    this.failed = new Promise((_, reject) => this.worker.on('error', reject));
    this.failed.catch(() => {}); // told to whoever draws
  }

  png(spec: ChartSpec): Promise<Buffer> {
    const drawn = new Promise<Buffer>((resolve, reject) => {
      this.worker.once('message', (answer: Drawn) => {
        if ('png' in answer) resolve(Buffer.from(answer.png));
        else reject(new Error(`The chart could not be drawn: ${answer.error}`));
      });
    });
    this.worker.postMessage(spec);
    return Promise.race([drawn, this.failed]);
  }

  end(): Promise<number> {
    return this.worker.terminate();
  }
}
