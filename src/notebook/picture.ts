import { dirname, join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';
import { palettePng } from './png';

/** An SVG as a PNG that looks the same everywhere: its letters come from a font of our own. */
export function picture(svg: string, zoom = 1.5): Buffer {
  const fonts = join(dirname(require.resolve('dejavu-fonts-ttf/package.json')), 'ttf', 'DejaVuSans.ttf');
  const { pixels, width, height } = new Resvg(svg, {
    background: '#fff',
    font: { fontFiles: [fonts], loadSystemFonts: false, defaultFontFamily: 'DejaVu Sans' },
    fitTo: { mode: 'zoom', value: zoom },
  }).render();
  return palettePng(pixels, width, height);
}
