import type { ChartSpec } from '../../views';
import { picture } from './picture';

/** Loads vega, which takes a moment the first time. */
export const loadVega = (): Promise<[typeof import('vega-lite'), typeof import('vega')]> =>
  Promise.all([import('vega-lite'), import('vega')]);

/** A vega-lite chart as a PNG. */
export async function chartPng(spec: ChartSpec): Promise<Buffer> {
  const [{ compile }, { parse, View }] = await loadVega();
  const view = new View(parse(compile(spec as never).spec), { renderer: 'none' });
  try {
    return picture(await view.toSVG(), 1);
  } finally {
    view.finalize();
  }
}
