import type { ChartSpec } from '../../views';
import { picture } from './picture';

const vega = () => Promise.all([import('vega-lite'), import('vega')]);

/** Loads vega, which takes a moment the first time. */
export const loadVega = (): Promise<unknown> => vega();

/** A vega-lite chart as a PNG. */
export async function chartPng(spec: ChartSpec): Promise<Buffer> {
  const [{ compile }, { parse, View }] = await vega();
  const view = new View(parse(compile(spec as never).spec), { renderer: 'none' });
  try {
    return picture(await view.toSVG(), 1);
  } finally {
    view.finalize();
  }
}
