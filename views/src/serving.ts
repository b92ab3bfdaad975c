import { type ChartSpec, type ChartTheme, chart } from './charts';

/** How fast a server is with so many clients at once. */
export interface ServingData {
  rows: readonly {
    clients: number;
    tokens_per_second: number;
    requests_per_second: number;
    first_token_ms: number;
    first_token_ms_p95: number;
  }[];
}

/** Tokens a second, requests a second and the time to the first token (median and 95th percentile) over the number of clients. */
export function servingSpec({ rows }: ServingData, theme: ChartTheme): ChartSpec {
  const x = {
    field: 'clients',
    type: 'quantitative',
    scale: { type: 'log', base: 2 },
    axis: { values: rows.map(({ clients }) => clients), format: 'd' },
  };
  const line = (field: string, dash?: number[]) => ({
    mark: { type: 'line', point: true, ...(dash ? { strokeDash: dash } : {}) },
    encoding: { x, y: { field, type: 'quantitative', title: null, scale: { zero: true } } },
  });
  const panel = (title: string, ...layer: object[]) => ({ title, width: 200, height: 140, layer });
  const panels = [
    panel('tokens a second', line('tokens_per_second')),
    panel('requests a second', line('requests_per_second')),
    panel('ms to the first token (median, 95 %)', line('first_token_ms'), line('first_token_ms_p95', [4, 3])),
  ];
  return chart(theme, { data: { values: rows }, hconcat: panels });
}
