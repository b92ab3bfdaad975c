import { type ChartSpec, type ChartTheme, chart } from './charts';

/** Several systems on the same rows. */
export interface ComparisonData {
  results: readonly { name: string; metrics: Readonly<Record<string, { value: number; low: number; high: number }>> }[];
  /** How often each true label (down) was taken for each other (across). */
  matrices: readonly { name: string; labels: readonly (string | number | boolean)[]; matrix: readonly (readonly number[])[] }[];
}

/** A panel for every metric: a dot for each system with its interval; under them the confusion matrices. */
export function comparisonSpec({ results, matrices }: ComparisonData, theme: ChartTheme): ChartSpec {
  const names = results.map(({ name }) => name);
  const metrics = [...new Set(results.flatMap(({ metrics }) => Object.keys(metrics)))];
  const y = { field: 'name', type: 'nominal', sort: names, title: null, axis: { labelLimit: 160 } };
  const panel = (metric: string) => ({
    title: metric,
    width: 200,
    height: { step: 24 },
    data: { values: results.filter(({ metrics }) => metrics[metric]).map(({ name, metrics }) => ({ name, ...metrics[metric] })) },
    encoding: { y },
    layer: [
      {
        mark: { type: 'rule', strokeWidth: 2 },
        encoding: {
          x: {
            field: 'low',
            type: 'quantitative',
            scale: { zero: false, nice: true },
            title: null,
            axis: { format: '.2~f', tickCount: 5 },
          },
          x2: { field: 'high' },
        },
      },
      { mark: { type: 'point', filled: true, size: 70, opacity: 1 }, encoding: { x: { field: 'value', type: 'quantitative' } } },
    ],
  });
  const counts = ({ name, labels, matrix }: ComparisonData['matrices'][number]) => {
    const most = Math.max(1, ...matrix.flat());
    const values = matrix.flatMap((row, i) =>
      row.map((n, k) => ({ truth: String(labels[i]), said: String(labels[k]), n, dark: n > most / 2 })),
    );
    const axis = { labelAngle: 0, labelLimit: 90 };
    return {
      title: name,
      width: { step: 56 },
      height: { step: 32 },
      data: { values },
      encoding: {
        x: { field: 'said', type: 'nominal', sort: null, title: 'predicted', axis: { ...axis, orient: 'top' } },
        y: { field: 'truth', type: 'nominal', sort: null, title: 'true', axis },
      },
      layer: [
        {
          mark: 'rect',
          encoding: { color: { field: 'n', type: 'quantitative', scale: { scheme: 'blues', domain: [0, most] }, legend: null } },
        },
        {
          mark: { type: 'text' },
          encoding: {
            text: { field: 'n', type: 'quantitative' },
            color: { condition: { test: 'datum.dark', value: '#fff' }, value: '#222' },
          },
        },
      ],
    };
  };
  const rows: ChartSpec[] = [{ concat: metrics.map(panel), columns: 3 }];
  if (matrices.length) rows.push({ hconcat: matrices.map(counts), resolve: { scale: { color: 'independent' } } });
  return chart(theme, { vconcat: rows });
}
