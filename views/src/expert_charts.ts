import { type AdapterData, type AdapterModule, condition, isDense, kindsOf, placeOf } from './adapter';
import { type ChartSpec, type ChartTheme, chart, clamp, panels } from './charts';
import type { LayersOverlap } from './layers';

/** Singular values of one kind of module in all layers, on a logarithmic axis: a line for each layer. */
export function layersSpec(modules: readonly AdapterModule[], kind: string, theme: ChartTheme, width = 1000): ChartSpec {
  const mine = modules.filter((m) => isDense(m) && placeOf(m.name).kind === kind);
  const values = mine.flatMap(({ name, singular }) =>
    singular.flatMap((sigma, i) => (sigma > singular[0] * 1e-7 ? [{ layer: placeOf(name).layer, i: i + 1, sigma }] : [])),
  );
  return chart(theme, {
    width: clamp(width - 170, 160, 540),
    height: 220,
    data: { values },
    mark: { type: 'line', point: { size: 14 }, strokeWidth: 1.5 },
    encoding: {
      x: { field: 'i', type: 'quantitative', title: 'direction', axis: { tickMinStep: 1, format: 'd' } },
      y: { field: 'sigma', type: 'quantitative', scale: { type: 'log' }, title: null, axis: { format: '.3~g', tickCount: 5 } },
      detail: { field: 'layer' },
      color: {
        field: 'layer',
        type: 'quantitative',
        scale: { scheme: 'viridis' },
        legend: { title: 'layer', format: 'd', tickMinStep: 1 },
      },
      tooltip: [
        { field: 'layer', title: 'layer' },
        { field: 'i', title: 'direction' },
        { field: 'sigma', format: '.4~g' },
      ],
    },
  });
}

/** Layer by module: how many times the largest singular value is the smallest that the update has. */
export function conditionSpec({ modules }: AdapterData, theme: ChartTheme, width = 1000): ChartSpec {
  const kinds = kindsOf(modules);
  const values = modules.filter(isDense).flatMap(({ name, singular }) => {
    const { layer, kind } = placeOf(name);
    const number = condition(singular);
    return number ? [{ module: name, layer: layer < 0 ? '-' : layer, kind, condition: number }] : [];
  });
  const step = clamp(Math.floor((width - 170) / Math.max(1, kinds.length)), 16, 70);
  return chart(theme, {
    width: { step },
    height: { step: 12 },
    data: { values },
    mark: 'rect',
    encoding: {
      x: {
        field: 'kind',
        type: 'nominal',
        sort: kinds,
        title: null,
        axis: { orient: 'top', labelAngle: step < 66 ? -90 : 0, labelLimit: 0 },
      },
      y: { field: 'layer', type: 'ordinal', title: 'layer' },
      color: {
        field: 'condition',
        type: 'quantitative',
        scale: { scheme: 'viridis', type: 'log' },
        legend: { title: null, format: '.3~g' },
      },
      tooltip: [{ field: 'module' }, { field: 'condition', format: '.4~g' }],
    },
  });
}

/** Layer by layer: how much the updates of one kind of module share. */
export function betweenSpec({ kind, layers, reads, writes }: LayersOverlap, theme: ChartTheme, width = 1000): ChartSpec {
  const sides = Object.entries({ reads, writes });
  const values = sides.flatMap(([side, shares]) => {
    let at = 0;
    return layers.flatMap((a, i) =>
      layers.slice(i + 1).flatMap((b) => {
        const share = shares[at++];
        return [
          { side, a, b, share },
          { side, a: b, b: a, share },
        ];
      }),
    );
  });
  const { concat, width: panel } = panels(width, 80);
  const step = clamp(Math.floor(panel / Math.max(1, layers.length)), 4, 14);
  const axis = { labelOverlap: true, labelAngle: 0 };
  const layer = (field: string, title: string | null) => ({ field, type: 'ordinal', title, axis });
  return chart(theme, {
    [concat]: sides.map(([side]) => ({
      title: `what ${kind} ${side}`,
      width: { step },
      height: { step },
      data: { values: values.filter((value) => value.side === side) },
      mark: 'rect',
      encoding: {
        x: layer('a', 'layer'),
        y: layer('b', 'layer'),
        color: {
          field: 'share',
          type: 'quantitative',
          scale: { scheme: 'viridis', domain: [0, 1] },
          legend: { format: '.0%', title: null },
        },
        tooltip: [
          { field: 'a', title: 'layer' },
          { field: 'b', title: 'and layer' },
          { field: 'share', format: '.0%' },
        ],
      },
    })),
  });
}
