import { type AdapterData, type AdapterModule, cumulativeEnergy, isDense, kindsOf, placeOf, sizeOf, usedRank } from './adapter';
import { shapeOf } from './adapter_summary';

/** Colours of the page a chart stands on. */
export interface ChartTheme {
  text: string;
  grid: string;
  font: string;
}

export const PAPER: ChartTheme = { text: '#222', grid: '#ddd', font: 'DejaVu Sans' };

/** A vega-lite specification: the same for the page and for the picture that readers without the extension see. */
export type ChartSpec = Record<string, unknown>;

const config = ({ text, grid, font }: ChartTheme) => ({
  font,
  background: 'transparent',
  padding: 8,
  axis: { labelColor: text, titleColor: text, gridColor: grid, domainColor: grid, tickColor: grid, titleFontWeight: 'normal' },
  legend: { labelLimit: 0, labelColor: text, titleColor: text, titleFontWeight: 'normal' },
  title: { color: text, fontWeight: 'normal', fontSize: 12, anchor: 'start' },
  view: { stroke: 'transparent' },
  // Okabe and Ito's colours, told apart with any kind of colour vision.
  range: { category: ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#56b4e9', '#cc79a7', '#999999', '#b3a100'] },
});

const SCHEMA = 'https://vega.github.io/schema/vega-lite/v6.json';
/** A specification in the page's colours. */
export const chart = (theme: ChartTheme, spec: ChartSpec): ChartSpec => ({ $schema: SCHEMA, config: config(theme), ...spec });

/** Pixels for the panels of a chart beside each other, or under each other where a page is too narrow for that. */
export function panels(width: number, legend = 0): { concat: 'hconcat' | 'vconcat'; width: number } {
  const beside = (width - legend - 150) / 2;
  return beside >= 190 ? { concat: 'hconcat', width: Math.min(260, beside) } : { concat: 'vconcat', width: clamp(width - 70, 120, 260) };
}

export const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/**
 * Layer by module: the size of each update, against its weight where that is known. A click on a cell selects `module`. A page of `width`
 * pixels holds it.
 */
export function heatmapSpec(
  { modules }: AdapterData,
  theme: ChartTheme,
  { selected, width = 1000 }: { selected?: string; width?: number } = {},
): ChartSpec {
  const known = modules.every(({ weight }) => weight);
  const values = modules.map((m) => {
    const { layer, kind } = placeOf(m.name);
    const uses = isDense(m) ? `uses ${usedRank(m.singular)} of ${m.rank}` : shapeOf(m);
    return { module: m.name, layer: layer < 0 ? '-' : layer, kind, size: sizeOf(m), uses, selected: m.name === selected };
  });
  const title = known ? '|dW| / |W|' : normName(modules);
  return gridSpec(theme, kindsOf(modules), values, width, {
    size: { field: 'size', title, format: known ? '.3~p' : '.3~g' },
    tooltip: [
      { field: 'module', title: 'module' },
      { field: 'size', title, format: known ? '.3~p' : '.4~g' },
      { field: 'uses', title: 'directions' },
    ],
  });
}

interface Cell {
  layer: number | string;
  kind: string;
  selected: boolean;
}

/** Layer by kind of module: a cell for each, coloured by its size, the selected one framed. A page of `width` pixels holds it. */
export function gridSpec(
  theme: ChartTheme,
  kinds: readonly string[],
  values: readonly Cell[],
  width: number,
  { size: { field, title, format }, tooltip }: { size: { field: string; title: string; format: string }; tooltip: object[] },
): ChartSpec {
  const layers = new Set(values.map(({ layer }) => layer)).size;
  const longest = 10 + 6.5 * Math.max(0, ...kinds.map((kind) => kind.length));
  const beside = width >= 58 * kinds.length + 170;
  const step = clamp(Math.floor((width - (beside ? 170 : 60)) / Math.max(1, kinds.length)), 16, Math.max(58, longest));
  const axis = { orient: 'top', labelAngle: step < longest ? -90 : 0, labelLimit: 0 };
  const legend = {
    title,
    format,
    ...(beside ? {} : { orient: 'bottom', gradientLength: 240, labelOverlap: 'greedy', labelSeparation: 8 }),
  };
  // Two lines, one of which is seen on whatever colour lies beneath.
  const frame = (stroke: string, strokeWidth: number) => ({
    transform: [{ filter: 'datum.selected' }],
    mark: { type: 'rect', fill: null, stroke, strokeWidth },
  });
  return chart(theme, {
    width: { step },
    height: { step: layers > 40 ? 9 : 14 },
    data: { values },
    encoding: {
      x: { field: 'kind', type: 'nominal', sort: kinds, title: null, axis },
      y: { field: 'layer', type: 'ordinal', title: 'layer', sort: 'ascending' },
    },
    layer: [
      {
        mark: { type: 'rect', cursor: 'pointer' },
        encoding: { color: { field, type: 'quantitative', scale: { scheme: 'viridis' }, legend }, tooltip },
      },
      frame('#000', 4),
      frame('#fff', 2),
    ],
  });
}

/** What a module's size is, where no weight is beside it. */
export const normName = (modules: readonly AdapterModule[]): string => (modules.some(isDense) ? '|dW|' : 'norm');

/** Singular values of modules on a logarithmic axis, beside how much of the energy the first of them hold. */
export function spectrumSpec(modules: readonly AdapterModule[], theme: ChartTheme, width = 1000): ChartSpec {
  const { concat, width: panel } = panels(width);
  const values = modules.flatMap(({ name, singular }) => {
    const energy = cumulativeEnergy(singular);
    // Below this, fp64 rounding of the arithmetic is all there is.
    return singular.flatMap((sigma, i) => (sigma > singular[0] * 1e-7 ? [{ module: name, i: i + 1, sigma, energy: energy[i] }] : []));
  });
  const shared = {
    width: panel,
    height: 200,
    mark: { type: 'line', point: { size: 24 } },
  };
  const x = { field: 'i', type: 'quantitative', title: 'direction', axis: { tickMinStep: 1, format: 'd' } };
  const color = {
    field: 'module',
    type: 'nominal',
    legend: modules.length > 1 ? { orient: 'bottom', columns: 1, labelLimit: 500, title: null } : null,
  };
  const tooltip = [
    { field: 'module' },
    { field: 'i', title: 'direction' },
    { field: 'sigma', format: '.4~g' },
    { field: 'energy', format: '.2%' },
  ];
  return chart(theme, {
    data: { values },
    [concat]: [
      {
        ...shared,
        title: 'singular values of dW',
        encoding: {
          x,
          y: { field: 'sigma', type: 'quantitative', scale: { type: 'log' }, title: null, axis: { format: '.3~g', tickCount: 5 } },
          color,
          tooltip,
        },
      },
      {
        ...shared,
        title: 'cumulative energy',
        encoding: {
          x,
          y: { field: 'energy', type: 'quantitative', scale: { domain: [0, 1] }, title: null, axis: { format: '.0%' } },
          color,
          tooltip,
        },
      },
    ],
  });
}

/** How |dW| and the effective rank grew over the checkpoints: a line for each kind of module, its mean over the layers. */
export function historySpec({ modules, history }: AdapterData, theme: ChartTheme, width = 1000): ChartSpec {
  const { concat, width: wide } = panels(width, 110); // the legend's
  const legend = concat === 'vconcat' ? { orient: 'bottom', columns: 2 } : {};
  const values = history.flatMap(({ step, deltas, effectiveRanks }) =>
    modules.map(({ name }, i) => ({ step, kind: placeOf(name).kind, delta: deltas[i], rank: effectiveRanks[i] })),
  );
  const panel = (field: string, title: string) => ({
    width: wide,
    height: 200,
    title,
    mark: { type: 'line', point: { size: 24 } },
    encoding: {
      x: { field: 'step', type: 'quantitative', axis: { tickMinStep: 1 } },
      y: { aggregate: 'mean', field, type: 'quantitative', title: null },
      color: { field: 'kind', type: 'nominal', sort: kindsOf(modules), title: null, legend },
    },
  });
  return chart(theme, {
    data: { values },
    [concat]: [panel('delta', normName(modules)), ...(modules.some(isDense) ? [panel('rank', 'effective rank')] : [])],
  });
}

/** Layer by module: how much two adapters share of what a module reads and of what it writes. */
export function overlapSpec({ modules, overlap }: AdapterData, theme: ChartTheme, width = 1000): ChartSpec {
  const kinds = kindsOf(modules);
  const values = modules.flatMap(({ name }, i) => {
    const { layer, kind } = placeOf(name);
    return (['reads', 'writes'] as const).flatMap((side) => {
      const share = overlap?.[side][i];
      return share === null || share === undefined ? [] : [{ layer: layer < 0 ? '-' : layer, kind, side, share }];
    });
  });
  return chart(theme, {
    data: { values },
    facet: { column: { field: 'side', title: null, header: { labelColor: theme.text } } },
    spec: {
      width: { step: clamp(Math.floor((width - 150) / (2 * kinds.length || 1)), 12, 40) },
      height: { step: 12 },
      mark: 'rect',
      encoding: {
        x: { field: 'kind', type: 'nominal', sort: kinds, title: null, axis: { labelLimit: 0 } },
        y: { field: 'layer', type: 'ordinal', title: 'layer' },
        color: {
          field: 'share',
          type: 'quantitative',
          scale: { scheme: 'viridis', domain: [0, 1] },
          legend: { format: '.0%', title: null },
        },
        tooltip: [{ field: 'kind' }, { field: 'layer' }, { field: 'share', format: '.1%' }],
      },
    },
  });
}
