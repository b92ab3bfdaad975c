// The thread of chart.ts: vega is loaded at once, so that it is there when the first chart comes.
import { parentPort } from 'node:worker_threads';
import type { ChartSpec } from '../../views';
import type { Drawn } from './chart';
import { picture } from './picture';

const vega = Promise.all([import('vega-lite'), import('vega')]);
vega.catch(() => {}); // told with the first chart

async function draw(spec: ChartSpec): Promise<Drawn> {
  try {
    const [{ compile }, { parse, View }] = await vega;
    const view = new View(parse(compile(spec as never).spec), { renderer: 'none' });
    try {
      return { png: picture(await view.toSVG(), 1) };
    } finally {
      view.finalize();
    }
  } catch (error) {
    return { error: (error as Error).message };
  }
}

parentPort?.on('message', async (spec: ChartSpec) => parentPort?.postMessage(await draw(spec)));
