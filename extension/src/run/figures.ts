import type { TranslationBundle } from '@jupyterlab/translation';
import { figure, type RunData, seriesOf, summary } from '@tunebook/views';
import { element, table } from '../dom';
import { nameOf, type Words } from './figure';

const ROWS = 50;

/** The plot as tables: what the run comes to, its figures at up to 50 steps, what happened, its options. */
export function figuresPanel(run: RunData, words: Words, trans: TranslationBundle): HTMLElement {
  const names = seriesOf(run);
  const columns = names.map((name) => new Map(run.series[name]));
  const steps = [...new Set(names.flatMap((name) => run.series[name].map(([step]) => step)))].sort((a, b) => a - b);
  const every = Math.ceil(steps.length / ROWS);
  const shown = steps.filter((step, i) => i % every === 0 || i === steps.length - 1 || columns[1].has(step));
  const shape = (name: string, value: number | undefined) =>
    value === undefined ? '' : figure(name === 'resident_bytes' ? value / 2 ** 30 : value);
  const rows = shown.slice(-4 * ROWS).map((step) => [String(step), ...names.map((name, i) => shape(name, columns[i].get(step)))]);
  const events = run.events.slice(-4 * ROWS).map(({ step, kind, text }) => [String(step), kind, text]);
  const config = Object.entries(run.config).map(([name, value]) => [name, String(value)]);
  return element(
    'div',
    {},
    table(summary(run), { caption: trans.__('Summary') }),
    table(rows, { caption: trans.__('Figures'), heads: [words.step, ...names.map((name) => nameOf(name, words))] }),
    table(events, { caption: trans.__('What happened'), heads: [words.step, trans.__('kind'), trans.__('note')] }),
    table(config, { caption: trans.__('Options'), heads: [trans.__('name'), trans.__('value')] }),
  );
}
