import { OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { countLabels, type Label, labelsOf, meanOver, pooled, scoresOf, type ZeroDivision } from './metrics/labels';
import type { Column } from './metrics/metric';

const OPTIONS = {
  labels: null as Label[] | null,
  target_names: null as string[] | null,
  digits: 2,
  output_dict: false,
  zero_division: 'warn' as ZeroDivision,
};

export interface ReportRow {
  precision: number;
  recall: number;
  'f1-score': number;
  support: number;
}

/** Precision, recall, F1 and number of rows of each label and their means, under scikit-learn's names and in its order. */
function reportRows(
  references: Column,
  predictions: Column,
  { labels: given, target_names, zero_division: zero }: typeof OPTIONS,
): [string, ReportRow | number][] {
  const present = labelsOf(references, predictions);
  const labels = given ?? present;
  if (target_names && target_names.length !== labels.length)
    throw new OptionError(
      `There are ${labels.length} labels (${labels.slice(0, 5).map(show).join(', ')}), but ${target_names.length} target_names.`,
    );
  const counts = countLabels(predictions, references, labels);
  const row = (scores: ReturnType<typeof scoresOf>, mean: (values: number[]) => number, support: number): ReportRow => ({
    precision: mean(scores.precision),
    recall: mean(scores.recall),
    'f1-score': mean(scores.f1),
    support,
  });
  const each = scoresOf(counts, zero);
  const all = scoresOf(pooled(counts), zero);
  const support = counts.true.reduce((sum, n) => sum + n, 0);
  // With all labels there, each of the three is the accuracy.
  const whole = present.every((label) => labels.includes(label));
  return [
    ...labels.map((label, i): [string, ReportRow] => [
      target_names?.[i] ?? String(label),
      row(each, (values) => values[i], counts.true[i]),
    ]),
    whole ? ['accuracy', all.f1[0]] : ['micro avg', row(all, ([value]) => value, support)],
    [
      'macro avg',
      row(
        each,
        (values) =>
          meanOver(
            values,
            labels.map(() => 1),
            zero,
          ),
        support,
      ),
    ],
    ['weighted avg', row(each, (values) => meanOver(values, counts.true, zero), support)],
  ];
}

/** The table of scikit-learn's `classification_report`, letter by letter, or with `output_dict: true` its numbers. */
export function classification_report(
  references: Column,
  predictions: Column,
  given: Partial<typeof OPTIONS> & { output_dict: true },
): Record<string, ReportRow | number>;
export function classification_report(references: Column, predictions: Column, given?: Partial<typeof OPTIONS>): string;
export function classification_report(
  references: Column,
  predictions: Column,
  given: Partial<typeof OPTIONS> = {},
): string | Record<string, ReportRow | number> {
  const options = readOptions('classification_report', given, OPTIONS);
  const rows = reportRows(references, predictions, options);
  if (options.output_dict) return Object.fromEntries(rows);
  const names = ['precision', 'recall', 'f1-score', 'support'] as const;
  const width = Math.max('weighted avg'.length, options.digits, ...rows.map(([name]) => name.length));
  const [, last] = rows[rows.length - 1];
  const { support } = last as ReportRow;
  const line = (name: string, cells: readonly (string | number)[]) =>
    `${name.padStart(width)}  ${cells.map((cell, i) => (typeof cell === 'number' && i < 3 ? cell.toFixed(options.digits) : String(cell)).padStart(9)).join(' ')}\n`;
  const cells = (row: ReportRow | number) => (typeof row === 'number' ? ['', '', row, support] : names.map((key) => row[key]));
  const means = rows.length - 3;
  return [line('', names), ...rows.map(([name, row], i) => `${i === 0 || i === means ? '\n' : ''}${line(name, cells(row))}`)].join('');
}
