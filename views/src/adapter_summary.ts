import {
  type AdapterData,
  type AdapterModule,
  condition,
  effectiveRank,
  isDense,
  kindsOf,
  moduleIn,
  placeOf,
  sizeOf,
  stableRank,
  usedRank,
} from './adapter';
import { figure } from './series';

const thousands = (n: number) => Math.round(n).toLocaleString('en-US');
const range = (values: number[]) => {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(figure);
  return low === high ? low : `${low} to ${high}`;
};

/** The shape of a tensor, as words. */
export const shapeOf = ({ outFeatures, inFeatures }: AdapterModule): string =>
  inFeatures === 1 ? `${thousands(outFeatures)} values` : `${thousands(outFeatures)} x ${thousands(inFeatures)}`;

/** What an adapter trains that is no dense update, by the ends of names: how many of what shape, and their norms. */
function tensorRows(modules: readonly AdapterModule[]): [string, string][] {
  const alike = new Map<string, AdapterModule[]>();
  for (const module of modules) {
    const path = moduleIn(module.name);
    const label = module.name.slice(path.lastIndexOf('.') + 1);
    const key = `${label} ${shapeOf(module)}`;
    alike.set(key, [...(alike.get(key) ?? []), module]);
  }
  const groups = [...alike.values()];
  const rows = groups.slice(0, 12).map((group): [string, string] => {
    const [first] = group;
    const label = first.name.slice(moduleIn(first.name).lastIndexOf('.') + 1);
    return [label, `${group.length === 1 ? '' : `${group.length} of `}${shapeOf(first)}, norm ${range(group.map(({ delta }) => delta))}`];
  });
  return groups.length > 12 ? [...rows, ['others', `${groups.length - 12} more kinds of tensors`]] : rows;
}

/** What an adapter comes to, as label and value: for tables, summaries and plain text. */
export function adapterSummary(data: AdapterData): [string, string][] {
  const { modules } = data;
  const trained = modules.reduce((sum, m) => sum + m.trained, 0);
  const dense = modules.filter(isDense);
  const paths = new Set(modules.map(({ name }) => moduleIn(name)));
  const beside = [...paths].some((path) => path.includes('.'))
    ? ` beside ${paths.size} ${paths.size === 1 ? 'module' : 'modules'} of`
    : ' for';
  const rows: [string, string][] = [
    ['adapter', `${data.method}${beside} ${data.base || 'an unknown base model'}`],
    [
      'parameters trained',
      data.total === null
        ? thousands(trained)
        : // Of base and adapter together, as PEFT counts them.
          `${thousands(trained)} of ${thousands(data.total + trained)} (${((100 * trained) / (data.total + trained)).toFixed(4)} %)`,
    ],
  ];
  if (dense.length) {
    const one = dense.find(({ name }) => placeOf(name).kind === kindsOf(dense)[0]) as AdapterModule;
    rows.push([
      'for one module',
      `${placeOf(one.name).kind}, ${thousands(one.outFeatures)} x ${thousands(one.inFeatures)}: ${thousands(one.outFeatures * one.inFeatures)} values stay frozen; at r = ${one.rank}, ` +
        `${one.rank} x (${thousands(one.inFeatures)} + ${thousands(one.outFeatures)}) = ${thousands(one.rank * (one.inFeatures + one.outFeatures))} are trained`,
    ]);
    const largest = dense.reduce((best, m) => (sizeOf(m) > sizeOf(best) ? m : best));
    const known = largest.weight !== null;
    rows.push([
      known ? 'largest |dW| / |W|' : 'largest |dW|',
      `${known ? `${figure(100 * sizeOf(largest))} %` : figure(largest.delta)} in ${largest.name}`,
    ]);
    const used = dense.map((m) => usedRank(m.singular));
    rows.push([
      'directions in use',
      `${Math.min(...used)} to ${Math.max(...used)} of ${Math.max(...dense.map((m) => m.rank))} hold 99 % of an update`,
    ]);
  }
  rows.push(...tensorRows(modules.filter((m) => !isDense(m))));
  const conditions = dense.map((m) => condition(m.singular)).filter(Boolean);
  if (conditions.length) {
    const [least, most] = [Math.min(...conditions), Math.max(...conditions)];
    rows.push(['condition', `the largest singular value is ${figure(least)} to ${figure(most)} times the smallest`]);
  }
  const between = data.between?.filter(({ reads }) => reads.length) ?? [];
  if (between.length) {
    const most = (side: 'reads' | 'writes') => figure(100 * Math.max(...between.flatMap((one) => one[side])));
    rows.push(['shared between layers', `at most ${most('reads')} % of what two layers read, ${most('writes')} % of what they write`]);
  }
  if (data.overlap) {
    const mean = (values: (number | null)[]) => {
      const known = values.filter((v) => v !== null);
      return known.length ? `${figure((100 * known.reduce((a, b) => a + b, 0)) / known.length)} %` : 'nothing';
    };
    rows.push([
      `shared with ${data.overlap.other}`,
      `${mean(data.overlap.reads)} of what modules read, ${mean(data.overlap.writes)} of what they write`,
    ]);
  }
  if (data.merge) {
    const { drift, spread, agreement, tokens, format } = data.merge;
    rows.push([
      'merge check',
      `merged into ${format}, a logit moves by ${figure(drift)} at most (logits deviate by ${figure(spread)}); ${figure(100 * agreement)} % of ${tokens} next tokens stay the same`,
    ]);
  }
  return rows;
}

/** All figures as comma-separated values: a row for each module. */
export function adapterCsv(data: AdapterData): string {
  const quote = (value: string | number) => (typeof value === 'number' ? String(value) : `"${value.replaceAll('"', '""')}"`);
  const ranks = Math.max(0, ...data.modules.map((m) => m.singular.length));
  const heads = [
    'module',
    'out',
    'in',
    'rank',
    'trained',
    'delta_norm',
    'weight_norm',
    'used_rank',
    'stable_rank',
    'effective_rank',
    'condition',
  ];
  const sigmas = Array.from({ length: ranks }, (_, i) => `sigma_${i + 1}`);
  const rows = data.modules.map((m) => {
    const { singular: s } = m;
    const ranks = [usedRank(s), stableRank(s), effectiveRank(s), condition(s) || ''];
    const figures = [m.outFeatures, m.inFeatures, m.rank, m.trained, m.delta, m.weight ?? '', ...ranks];
    return [m.name, ...figures, ...sigmas.map((_, i) => s[i] ?? '')].map(quote).join(',');
  });
  return `${[...heads, ...sigmas].join(',')}\n${rows.join('\n')}\n`;
}
