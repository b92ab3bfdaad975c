import { inspect } from 'node:util';
import { DataError, OptionError } from '../core/errors';
import { escapeHtml, tableHtml } from '../core/html';
import { readOptions, show } from '../core/options';
import { DISPLAY, type Shown, withChart } from '../core/shown';
import type { Row } from '../data/dataset';
import { CausalLM } from '../models/causal_lm';
import { PeftModel } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { asked, baseBefore } from './asked';
import { type ClassifyOptions, classify } from './classify';
import { combine, type EvaluationModule, METRICS } from './metrics';
import { confusion } from './metrics/confusion_matrix';
import { type Label, labelsOf } from './metrics/labels';
import { classification_report } from './report';
import { bootstrap, type Interval, type McNemar, mcnemar } from './statistics';

/** Answers that are there already, one for each row; scores where a metric needs them. */
export interface Answers {
  predictions: readonly unknown[];
  prediction_scores?: readonly unknown[];
}

/** A model, asked by `prompt` and `choices`; the same with a prompt of its own; or answers that are there already. */
export type System =
  | CausalLM
  | PeftModel<CausalLM>
  | ({ model: CausalLM | PeftModel<CausalLM> } & Partial<Pick<ClassifyOptions, 'prompt' | 'normalize'>>)
  | Answers;

export interface CompareOptions {
  /** Left out beside an adapter: its model without it. */
  before: System | null;
  after: System;
  /** Further ones for the table, by name: `{ 'few-shot': { model, prompt: fewShot(...) } }`. */
  baselines: Record<string, System>;
  dataset: Iterable<Row>;
  /** The column with the right answer, or a function of the row. */
  reference: string | ((row: Row) => unknown);
  /** Names of metrics; options of theirs stand in `metric_options`. */
  metrics: readonly string[];
  metric_options: Record<string, unknown>;
  tokenizer: Tokenizer | null;
  prompt: ClassifyOptions['prompt'] | null;
  choices: ClassifyOptions['choices'] | null;
  normalize: ClassifyOptions['normalize'];
  n_resamples: number;
  confidence: number;
  seed: number;
}

const isAnswers = (system: System): system is Answers => 'predictions' in system;

type AskedModel = Exclude<System, CausalLM | PeftModel<CausalLM> | Answers>;
/** A model that is asked, with what is its own. */
const asModel = (system: Exclude<System, Answers>): AskedModel =>
  system instanceof CausalLM || system instanceof PeftModel ? { model: system } : system;

/** What one of them reached. */
export interface Result {
  name: string;
  metrics: Record<string, Interval>;
  predictions: readonly unknown[];
}

const percent = (value: number) => (Math.abs(value) <= 1 ? value.toFixed(3) : value.toFixed(1));

/** The answers of several systems to the same rows, measured; a table in a notebook and on a terminal, JSON by JSON.stringify. */
export class Comparison {
  constructor(
    readonly results: Result[],
    readonly references: readonly unknown[],
    /** Whether before and after differ by more than chance. */
    readonly test: McNemar,
    private readonly rows: readonly Row[],
    readonly confidence: number,
  ) {}

  private of(name: string): Result {
    const found = this.results.find((result) => result.name === name);
    if (!found)
      throw new OptionError(
        `There is no ${show(name)} in this comparison; there are ${this.results.map((result) => show(result.name)).join(', ')}.`,
      );
    return found;
  }

  /** Precision, recall, F1 and rows of each label, as scikit-learn prints them. */
  report(name = 'after'): string {
    return classification_report(this.references, this.of(name).predictions, { zero_division: 0 });
  }

  /** How often each label was taken for each other: true labels down, predicted across, in the order of `labels`. */
  confusion_matrix(name = 'after'): { labels: Label[]; matrix: number[][] } {
    const labels = labelsOf(this.references, ...this.results.map(({ predictions }) => predictions));
    return { labels, matrix: confusion(this.references, this.of(name).predictions, labels) };
  }

  /** The rows where before and after say different things: those that became right first. */
  changed(): (Row & { reference: unknown; before: unknown; after: unknown })[] {
    const [before, after] = [this.of('before').predictions, this.of('after').predictions];
    return this.references
      .map((reference, i) => ({ ...this.rows[i], reference, before: before[i], after: after[i] }))
      .filter((row) => row.before !== row.after)
      .sort((a, b) => Number(b.after === b.reference) - Number(a.after === a.reference));
  }

  /** A line for each system, with intervals. */
  table(): Record<string, string>[] {
    return this.results.map(({ name, metrics }) => ({
      '': name,
      ...Object.fromEntries(
        Object.entries(metrics).map(([key, its]) => [key, `${percent(its.value)} (${percent(its.low)} to ${percent(its.high)})`]),
      ),
    }));
  }

  /** McNemar's test in a sentence. */
  verdict(): string {
    const { only_before, only_after, p_value } = this.test;
    const p = p_value < 0.001 ? 'below 0.001' : p_value.toFixed(3);
    return (
      `Of ${this.references.length} rows, ${only_after} became right and ${only_before} became wrong: by McNemar's test a difference as large has a probability ` +
      `of ${p} if both are equally good${p_value < 0.05 ? '.' : ', so it may be chance.'}`
    );
  }

  toJSON(): object {
    const { results, references, test, confidence } = this;
    return { results, references, test, confidence };
  }

  [inspect.custom](): string {
    const rows = this.table();
    const columns = Object.keys(rows[0]);
    const widths = columns.map((key) => Math.max(key.length, ...rows.map((row) => row[key].length)));
    const line = (cells: string[]) =>
      cells
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd();
    return [line(columns), ...rows.map((row) => line(columns.map((key) => row[key]))), '', this.verdict()].join('\n');
  }

  /** A picture of the figures with their intervals and of both confusion matrices, where somebody draws it; tables; text. */
  [DISPLAY](): Promise<Shown> {
    const counted = labelsOf(this.references).length <= MOST_LABELS;
    const pair = counted ? ['before', 'after'] : [];
    const matrices = pair.map((name) => `<div style="margin-right:2em"><b>${name}</b>${this.matrixHtml(name)}</div>`);
    const html =
      `${tableHtml(this.table())}<p>${escapeHtml(this.verdict())} Intervals hold ${this.confidence * 100} %.</p>` +
      (counted ? `<p>True labels down, predicted ones across:</p><div style="display:flex;flex-wrap:wrap">${matrices.join('')}</div>` : '');
    const results = this.results.map(({ name, metrics }) => ({ name, metrics }));
    const data = { results, matrices: pair.map((name) => ({ name, ...this.confusion_matrix(name) })) };
    const alt = `What ${results.map(({ name }) => name).join(', ')} reached, with intervals of ${this.confidence * 100} %`;
    return withChart({ 'text/html': html, 'text/plain': this[inspect.custom]() }, { kind: 'comparison', data, alt });
  }

  private matrixHtml(name: string): string {
    const { labels, matrix } = this.confusion_matrix(name);
    return tableHtml(matrix.map((row, i) => ({ '': labels[i], ...Object.fromEntries(row.map((n, k) => [` ${labels[k]}`, n])) })));
  }
}

/** More labels than this make no table that anyone reads. */
const MOST_LABELS = 12;

/** Answers of a system to the rows; models are asked for the most probable of `choices`. */
async function answersOf(name: string, system: System, rows: readonly Row[], options: CompareOptions): Promise<Answers> {
  if (isAnswers(system)) {
    if (system.predictions.length === rows.length) return system;
    throw new DataError(`compare: ${name} has ${system.predictions.length} predictions for ${rows.length} rows.`);
  }
  const { model, ...own } = asModel(system);
  const { tokenizer, prompt, choices, normalize } = { ...options, ...own };
  if (!tokenizer || !prompt || !choices)
    throw new OptionError(
      `compare: ${name} is a model, which is asked by tokenizer, prompt (a function of the row) and choices (the labels' texts); ` +
        `${['tokenizer', 'prompt', 'choices'].filter((key) => !{ tokenizer, prompt, choices }[key as 'prompt']).join(' and ')} is missing. Or give its answers: { predictions: [...] }.`,
    );
  const { after } = options;
  const made = await asked(model, isAnswers(after) ? null : asModel(after).model, () =>
    classify(model, rows, { tokenizer, prompt, choices, normalize }),
  );
  // roc_auc takes of two labels the score of the greater one.
  return made.labels.length === 2 ? { ...made, prediction_scores: made.prediction_scores.map(([, greater]) => greater) } : made;
}

function measure(
  metric: EvaluationModule,
  { predictions, prediction_scores }: Answers,
  references: unknown[],
  o: CompareOptions,
): Record<string, Interval> {
  const all: Record<string, unknown> = { predictions, references, prediction_scores };
  const columns = Object.fromEntries(metric.inputs.filter((input) => all[input] !== undefined).map((input) => [input, all[input]]));
  return bootstrap(metric, { ...columns, ...o.metric_options }, { n_resamples: o.n_resamples, confidence: o.confidence, seed: o.seed });
}

/**
 * Before and after on the same rows: metrics with bootstrap intervals, McNemar's test, a report for each label, confusion matrices and the
 * rows that changed. A model is asked which of `choices` is the most probable behind `prompt(row)`; any other answers are given as they are.
 * Beside an adapter (`after`: a PeftModel) `before` is the same model with the adapter off.
 */
export async function compare(given: Pick<CompareOptions, 'after' | 'dataset'> & Partial<CompareOptions>): Promise<Comparison> {
  const missing = undefined as never;
  const options = readOptions<CompareOptions>('compare', given, {
    before: null,
    after: missing,
    baselines: {},
    dataset: missing,
    reference: 'label',
    metrics: ['accuracy'],
    metric_options: {},
    tokenizer: null,
    prompt: null,
    choices: null,
    normalize: null,
    n_resamples: 1000,
    confidence: 0.95,
    seed: 42,
  });
  const { before, after, reference } = options;
  if (!after || !options.dataset) throw new OptionError(`compare needs after and dataset, but ${after ? 'dataset' : 'after'} is missing.`);
  const rows = [...options.dataset];
  const references = rows.map((row, i) => {
    const value = typeof reference === 'function' ? reference(row) : row[reference];
    if (value === undefined)
      throw new DataError(
        `compare: row ${i} has no ${show(reference)}; it has ${Object.keys(row).join(', ')}. Set reference to the column with the right answer.`,
      );
    return value;
  });
  const metric = combine(options.metrics);
  for (const name of options.metrics)
    if (
      METRICS[name] &&
      Object.values(METRICS[name].inputs).some((input) => !['predictions', 'references', 'prediction_scores'].includes(input))
    )
      throw new OptionError(
        `compare: the metric ${show(name)} takes ${METRICS[name].inputs.join(' and ')}, which a comparison does not have.`,
      );
  const last = isAnswers(after) ? { model: after } : asModel(after);
  const first = before ?? { ...last, model: baseBefore('compare', last.model, 'answers { predictions: [...] }') };
  const all: [string, Answers][] = [['before', await answersOf('before', first, rows, options)]];
  for (const [name, system] of Object.entries(options.baselines)) all.push([name, await answersOf(name, system, rows, options)]);
  all.push(['after', await answersOf('after', after, rows, options)]);
  const right = (answers: Answers) => answers.predictions.map((prediction, i) => prediction === references[i]);
  return new Comparison(
    all.map(([name, answers]) => ({ name, predictions: answers.predictions, metrics: measure(metric, answers, references, options) })),
    references,
    mcnemar(right(all[0][1]), right(all[all.length - 1][1])),
    rows,
    options.confidence,
  );
}
