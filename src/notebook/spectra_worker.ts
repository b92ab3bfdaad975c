// A thread that computes singular values; see spectra.ts.
import { parentPort } from 'node:worker_threads';
import { type LowRankUpdate, singularValues } from '../../views';

parentPort?.on('message', ({ id, update }: { id: number; update: LowRankUpdate }) => {
  parentPort?.postMessage({ id, singular: singularValues(update) });
});
