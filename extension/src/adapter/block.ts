import type { TranslationBundle } from '@jupyterlab/translation';
import { type AdapterData, type AdapterModule, kindsOf, placeOf } from '@tunebook/views';

const SVG = 'http://www.w3.org/2000/svg';

function shape(tag: string, attributes: Record<string, string | number>, text?: string): SVGElement {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  if (text !== undefined) node.textContent = text;
  return node;
}

/** One block of the model with its frozen matrices, and beside each the two thin ones that are trained. */
export function blockDrawing({ modules }: AdapterData, trans: TranslationBundle): HTMLElement {
  const layers = new Set(modules.map(({ name }) => placeOf(name).layer)).size;
  const dense = modules.filter((m) => m.singular.length);
  const list = kindsOf(dense)
    .slice(0, 12)
    .map((kind) => [kind, dense.find(({ name }) => placeOf(name).kind === kind) as AdapterModule] as const);
  const drawings = list.map(([kind, { outFeatures, inFeatures, rank }]) => {
    const svg = shape('svg', { viewBox: '0 0 92 128', width: 92, height: 128, 'aria-hidden': 'true' });
    // Sides in proportion, so that one sees how thin the trained ones are.
    const largest = Math.max(outFeatures, inFeatures);
    const [w, h] = [(52 * inFeatures) / largest, (52 * outFeatures) / largest];
    const thin = Math.max(2, (52 * rank) / largest);
    svg.append(
      shape('rect', { x: 8, y: 20, width: w, height: h, class: 'tunebook-frozen' }),
      shape('rect', { x: w + 12, y: 20, width: thin, height: h, class: 'tunebook-trained' }),
      shape('rect', { x: 8, y: 24 + h, width: w, height: thin, class: 'tunebook-trained' }),
      shape('text', { x: 8, y: 12 }, kind),
      shape('text', { x: 8, y: 104, class: 'tunebook-small' }, `${outFeatures} x ${inFeatures}`),
      shape('text', { x: 8, y: 118, class: 'tunebook-small' }, `r = ${rank}`),
    );
    return svg;
  });
  const figure = document.createElement('figure');
  const text = trans.__(
    'One of %1 blocks: matrices in grey stay as they are; the two thin ones beside each (B to its right, A below it) are trained, and their product is added to it.',
    layers,
  );
  const caption = document.createElement('figcaption');
  caption.textContent = text;
  const block = document.createElement('div');
  block.className = 'tunebook-block';
  block.append(...drawings);
  figure.append(block, caption);
  return figure;
}
