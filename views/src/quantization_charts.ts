import { kindsOf, placeOf } from './adapter';
import { type ChartSpec, type ChartTheme, chart, clamp, gridSpec } from './charts';
import { BARS, type QuantizationData, type QuantizedModule } from './quantization';

const body = (spec: ChartSpec): ChartSpec => {
  const { $schema, config, ...rest } = spec;
  return rest;
};

/** Layer by module: how much packing changes each matrix. A click on a cell selects `module`. */
export function errorSpec(
  { modules }: QuantizationData,
  theme: ChartTheme,
  { selected, width = 1000 }: { selected?: string; width?: number } = {},
): ChartSpec {
  const values = modules.map(({ name, error, largest }) => {
    const { layer, kind } = placeOf(name);
    return { module: name, layer: layer < 0 ? '-' : layer, kind, error, largest, selected: name === selected };
  });
  return gridSpec(theme, kindsOf(modules), values, width, {
    size: { field: 'error', title: '|W - Q| / |W|', format: '.3~p' },
    tooltip: [
      { field: 'module', title: 'module' },
      { field: 'error', title: 'error', format: '.3~p' },
      { field: 'largest', title: 'largest change', format: '.3~g' },
    ],
  });
}

/** A matrix's values, each against the largest magnitude of its block, and over them the levels that they are rounded to. */
export function levelsSpec({ name, histogram }: QuantizedModule, levels: readonly number[], theme: ChartTheme, width = 1000): ChartSpec {
  const total = histogram.reduce((sum, n) => sum + n, 0) || 1;
  const bars = histogram.map((n, i) => ({ from: -1 + (2 * i) / BARS, to: -1 + (2 * (i + 1)) / BARS, share: n / total }));
  const x = { type: 'quantitative', title: "value / its block's largest magnitude", scale: { domain: [-1, 1] } };
  return chart(theme, {
    title: name,
    width: clamp(width - 80, 200, 560),
    height: 180,
    layer: [
      {
        data: { values: bars },
        mark: { type: 'bar', binSpacing: 0 },
        encoding: {
          x: { ...x, field: 'from', bin: 'binned' },
          x2: { field: 'to' },
          y: { field: 'share', type: 'quantitative', title: 'share of values', axis: { format: '.2~p' } },
          tooltip: [
            { field: 'from', format: '.3~f' },
            { field: 'to', format: '.3~f' },
            { field: 'share', format: '.3~p' },
          ],
        },
      },
      {
        data: { values: levels.map((level, code) => ({ level, code })) },
        mark: { type: 'rule', color: '#d55e00', strokeWidth: 1.5 },
        encoding: { x: { ...x, field: 'level' }, tooltip: [{ field: 'level', format: '.4~f' }] },
      },
    ],
  });
}

/** Both under each other, for readers without the extension: errors, and the levels over one module's values. */
export function quantizationSpec(data: QuantizationData, module: QuantizedModule | undefined, theme: ChartTheme): ChartSpec {
  const errors = errorSpec(data, theme, { selected: module?.name });
  if (!module) return errors;
  return chart(theme, {
    vconcat: [body(errors), body(levelsSpec(module, data.levels, theme, 640))],
    resolve: { scale: { color: 'independent' } },
  });
}
