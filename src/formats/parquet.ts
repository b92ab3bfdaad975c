import { open } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { FileError } from '../core/errors';
import type { Order, Parsed } from './parquet_worker';

/** How long a file may have nothing to say of itself: that is more than any real one takes for a group of rows. */
const patience = (bytes: number): number => 2000 + bytes / 1000;

const ENDLESS = 'its reading does not come to an end';
const unreadable = (path: string, why: string) =>
  new FileError(`${path} is no Parquet file that can be read: ${why}. It is damaged, or was written only in part: get it again.`);

const newWorker = () =>
  new Worker(require.resolve('../../lib/formats/parquet_worker.js'), { resourceLimits: { maxOldGenerationSizeMb: 4096 } });

/** What a thread may take to begin, ms. */
const START = 20_000;

/** A thread that reads Parquet files, one after another. */
class ParquetThread {
  private readonly worker = newWorker();
  private readonly ready = new Promise<void>((resolve, reject) => {
    this.worker.once('message', () => resolve());
    this.worker.once('error', reject);
  });

  constructor() {
    this.worker.unref();
    this.ready.catch(() => {}); // told to whoever reads
  }

  /** Its rows. Where the thread does not come back, it is ended. */
  async read(path: string, bytes: number): Promise<Record<string, unknown>[]> {
    this.worker.ref();
    await this.ready;
    const all: Record<string, unknown>[] = [];
    return new Promise((resolve, reject) => {
      const { worker } = this;
      const fail = (why: string, ended: boolean) => {
        if (ended) thread = undefined;
        end();
        if (ended) void worker.terminate();
        reject(unreadable(path, why));
      };
      let timer = setTimeout(() => {}, 0);
      const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => fail(ENDLESS, true), patience(bytes));
      };
      const onMessage = (parsed: Parsed) => {
        wait();
        if ('rows' in parsed) for (const row of parsed.rows) all.push(row);
        else if ('error' in parsed) fail(parsed.error.replace(/\.$/, ''), false);
        else {
          end();
          resolve(all);
        }
      };
      const onError = (error: Error) => fail(error.message, true);
      const end = () => {
        clearTimeout(timer);
        worker.off('message', onMessage);
        worker.off('error', onError);
        worker.unref();
      };
      worker.on('message', onMessage);
      worker.on('error', onError);
      wait();
      worker.postMessage({ path } satisfies Order);
    });
  }
}

let thread: ParquetThread | undefined;
let last: Promise<unknown> = Promise.resolve();

/**
 * The rows of a Parquet file (https://parquet.apache.org/docs/file-format), in any of its compressions. Whole numbers of 64 bits are numbers where those
 * hold them, else bigints; times are Dates. A FileError says what is wrong with a damaged one.
 */
export async function readParquet(path: string): Promise<Record<string, unknown>[]> {
  const size = await sizeOf(path);
  const turn = last.then(() => {
    thread ??= new ParquetThread();
    return thread.read(path, size);
  });
  last = turn.catch(() => {});
  return turn;
}

/** The size of a file that begins as Parquet does. */
async function sizeOf(path: string): Promise<number> {
  const file = await open(path, 'r').catch((error: Error) => {
    throw new FileError(`${path} cannot be opened: ${error.message}.`);
  });
  let size = 0;
  try {
    ({ size } = await file.stat());
    const head = Buffer.alloc(4);
    await file.read(head, 0, 4, 0);
    if (head.toString('latin1') !== 'PAR1')
      throw new FileError(`${path} is not a Parquet file: it begins with ${JSON.stringify(head.toString('latin1'))} instead of "PAR1".`);
  } finally {
    await file.close();
  }
  return size;
}

/** The rows of a Parquet file, a group of them at a time, as the file has them; the next is read when it is asked for. */
export async function* parquetGroups(path: string): AsyncGenerator<Record<string, unknown>[]> {
  const size = await sizeOf(path);
  const worker = newWorker();
  const answers: (Parsed | Error)[] = [];
  let arrived = () => {};
  const put = (answer: Parsed | Error) => {
    answers.push(answer);
    arrived();
  };
  worker.on('message', (answer: Parsed | 'ready') => answer !== 'ready' && put(answer));
  worker.on('error', put);
  const next = async (): Promise<Parsed | Error> => {
    if (!answers.length) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        arrived = resolve;
        timer = setTimeout(() => put(new Error(ENDLESS)), START + patience(size));
      });
      clearTimeout(timer);
    }
    return answers.shift() as Parsed | Error;
  };
  try {
    worker.postMessage({ path, paced: true } satisfies Order);
    for (;;) {
      const answer = await next();
      if (answer instanceof Error) throw unreadable(path, answer.message);
      if ('error' in answer) throw unreadable(path, answer.error.replace(/\.$/, ''));
      if ('done' in answer) return;
      yield answer.rows;
      worker.postMessage('more' satisfies Order);
    }
  } finally {
    await worker.terminate();
  }
}
