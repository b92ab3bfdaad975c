import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type LowRankUpdate, singularValues } from '../../views';

/** A low-rank update whose values are fetched when their turn comes. */
export type LazyUpdate = Omit<LowRankUpdate, 'a' | 'b'> & { values: () => Promise<{ a: Float32Array; b: Float32Array }> };

/** Multiplications below which threads cost more than they bring. */
const SMALL = 1e8;

/** One thread and what it is asked; two updates at a time, so that one is computed while the next is fetched. */
class Thread {
  private readonly worker = new Worker(require.resolve('../../lib/notebook/spectra_worker.js'));
  private readonly waiting = new Map<number, { resolve: (singular: number[]) => void; reject: (error: Error) => void }>();

  constructor() {
    this.worker.on('message', ({ id, singular }: { id: number; singular: number[] }) => {
      this.waiting.get(id)?.resolve(singular);
      this.waiting.delete(id);
    });
    this.worker.on('error', (error) => {
      for (const { reject } of this.waiting.values()) reject(error);
    });
  }

  compute(id: number, update: LowRankUpdate & { a: Float32Array; b: Float32Array }): Promise<number[]> {
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, update }, [update.a.buffer as ArrayBuffer, update.b.buffer as ArrayBuffer]);
    });
  }

  end(): Promise<number> {
    return this.worker.terminate();
  }
}

/** Singular values of many updates, on all cores where they are large. */
export async function spectra(updates: readonly LazyUpdate[]): Promise<number[][]> {
  const results: number[][] = new Array(updates.length);
  const work = updates.reduce((sum, { r, inFeatures, outFeatures }) => sum + r * r * (inFeatures + outFeatures), 0);
  let next = 0;
  const each = async (
    compute: (i: number, update: LowRankUpdate & { a: Float32Array; b: Float32Array }) => number[] | Promise<number[]>,
  ) => {
    for (let i = next++; i < updates.length; i = next++) {
      const { values, ...shape } = updates[i];
      results[i] = await compute(i, { ...shape, ...(await values()) });
    }
  };
  if (work < SMALL) {
    await each((_, update) => singularValues(update));
    return results;
  }
  const threads = Array.from({ length: Math.min(availableParallelism(), updates.length, 16) }, () => new Thread());
  try {
    const lanes = threads.flatMap((thread) => [thread, thread]);
    await Promise.all(lanes.map((thread) => each((i, update) => thread.compute(i, update))));
  } finally {
    await Promise.all(threads.map((thread) => thread.end()));
  }
  return results;
}
