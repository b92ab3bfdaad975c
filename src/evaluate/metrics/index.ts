import { inspect } from 'node:util';
import { DataError, nearest, OptionError } from '../../core/errors';
import { show } from '../../core/options';
import * as kinds from './kinds';
import { type Column, type Metric, readInputs } from './metric';

export const METRICS: Record<string, Metric> = kinds;

type Given = Record<string, unknown>;

/** A metric, or several as one, with the methods of Python's `evaluate`: `compute`, and `add`, `add_batch` before it. */
export class EvaluationModule {
  private readonly added: Record<string, unknown[]> = {};

  constructor(private readonly metrics: readonly string[]) {}

  get name(): string {
    return this.metrics.join('_');
  }
  get description(): string {
    return this.metrics.map((name) => METRICS[name].description).join(' ');
  }
  /** What has one value for each row. */
  get inputs(): string[] {
    return [...new Set(this.metrics.flatMap((name) => METRICS[name].inputs))];
  }

  /** One row: `add({ prediction, reference })`, or under the names of the inputs. */
  add(row: Given): void {
    this.add_batch(Object.fromEntries(Object.entries(row).map(([key, value]) => [this.inputs.includes(key) ? key : `${key}s`, [value]])));
  }
  /** Some rows: `add_batch({ predictions, references })`. */
  add_batch(rows: Given): void {
    for (const [key, value] of Object.entries(rows)) {
      if (!this.inputs.includes(key))
        throw new DataError(`The metric '${this.name}' takes ${this.inputs.join(' and ')}, not ${show(key)}.`);
      this.added[key] ??= [];
      this.added[key].push(...(value as Column));
    }
  }

  /**
   * Values by name. `given` has the inputs, each a list with one value for each row, and options; what was added before is taken where
   * there are no inputs, and forgotten. A DataError where inputs are missing, unequal in length or no labels, scores or texts.
   */
  compute(given: Given = {}): Record<string, unknown> {
    const all = { ...this.added, ...given };
    for (const key of Object.keys(this.added)) delete this.added[key];
    const results = this.metrics.map((name) => [name, this.one(name, all)] as const);
    const keys = results.flatMap(([, values]) => Object.keys(values));
    const clash = (key: string) => keys.filter((other) => other === key).length > 1;
    // Two that measure under one name are told apart, as in Python.
    return Object.fromEntries(
      results.flatMap(([name, values]) => Object.entries(values).map(([key, value]) => [clash(key) ? `${name}_${key}` : key, value])),
    );
  }

  private one(name: string, all: Given): Record<string, unknown> {
    const metric = METRICS[name];
    const known = (key: string) => Object.hasOwn(metric.options, key) || metric.inputs.includes(key) || metric.optional?.includes(key);
    const others = this.metrics.some((other) => other !== name);
    const its = others ? Object.fromEntries(Object.entries(all).filter(([key]) => known(key) || !this.takes(key))) : all;
    const { columns, options } = readInputs(name, metric, its);
    return metric.compute(columns, options);
  }

  private takes(key: string): boolean {
    return this.metrics.some((name) => {
      const { inputs, optional = [], options } = METRICS[name];
      return inputs.includes(key) || optional.includes(key) || Object.hasOwn(options, key);
    });
  }

  [inspect.custom](): string {
    const options = Object.assign({}, ...this.metrics.map((name) => METRICS[name].options));
    const lines = Object.entries(options).map(([key, value]) => `  ${key}: ${inspect(value)}`);
    return `Metric '${this.name}': ${this.description}\ncompute({ ${this.inputs.join(', ')} })${lines.length ? ` with the options\n${lines.join('\n')}` : ''}`;
  }
}

const OLD: Record<string, string> = {
  bleu: 'sacrebleu',
  sacre_bleu: 'sacrebleu',
  auc: 'roc_auc',
  em: 'exact_match',
  mcc: 'matthews_correlation',
};

function nameOf(name: unknown): string {
  const known = typeof name === 'string' && Object.hasOwn(OLD, name) ? OLD[name] : name;
  if (typeof known === 'string' && Object.hasOwn(METRICS, known)) return known;
  const guess = typeof name === 'string' ? nearest(name, Object.keys(METRICS)) : undefined;
  throw new OptionError(
    `There is no metric ${show(name)}.${guess ? ` Did you mean '${guess}'?` : ''} There are ${Object.keys(METRICS).join(', ')}; ` +
      'perplexity is what evaluate(model, dataset, { tokenizer }) measures.',
  );
}

/** As `evaluate.load('f1')` in Python. */
export const load = (name: string): EvaluationModule => new EvaluationModule([nameOf(name)]);

/** Several metrics as one, as `evaluate.combine(['accuracy', 'f1'])` in Python. */
export function combine(names: readonly string[]): EvaluationModule {
  if (!Array.isArray(names) || !names.length)
    throw new OptionError(`evaluate.combine takes a list of metrics' names, but was given ${show(names)}.`);
  return new EvaluationModule(names.map(nameOf));
}
