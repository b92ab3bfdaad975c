import { DataError, OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import type { Row } from '../data/dataset';
import type { CausalLM } from '../models/causal_lm';
import type { PeftModel } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { type Context, loglikelihood } from './likelihood';
import type { Label } from './metrics/labels';
import { oneOf } from './metrics/metric';

export interface ClassifyOptions {
  tokenizer: Tokenizer;
  /** What the model reads of a row: a text or messages. A label's text is measured behind it, behind a space where it is a text. */
  prompt: (row: Row) => Context;
  /** The labels, and the text that means each: `{ 0: 'ham', 1: 'spam' }`, or a list of texts that are the labels themselves. */
  choices: readonly string[] | Record<string, string>;
  /** 'tokens', 'characters' or 'bytes': the logarithm of the probability is divided by their number, so that longer texts are no less probable. */
  normalize: 'tokens' | 'characters' | 'bytes' | null;
  max_length: number | null;
}

export interface Classified {
  /** The most probable label of each row. */
  predictions: Label[];
  /** Of each row, the probability of each label among them all, in the order of `labels`. */
  prediction_scores: number[][];
  labels: Label[];
  /** Of each row, the logarithm of the probability of each label's text, in nats. */
  logprobs: number[][];
}

/** Labels and their texts; a label that is a number in JavaScript's keys is a number. */
function readChoices(choices: ClassifyOptions['choices']): [Label, string][] {
  const pairs: [Label, string][] = Array.isArray(choices)
    ? choices.map((text) => [text, text])
    : Object.entries(choices ?? {}).map(([label, text]) => [/^-?\d+$/.test(label) ? Number(label) : label, text]);
  if (pairs.length < 2 || pairs.some(([, text]) => typeof text !== 'string' || !text))
    throw new OptionError(
      `classify: choices must be at least two texts, ['ham', 'spam'] or { 0: 'ham', 1: 'spam' }, but are ${show(choices)}. ` +
        'Give the text by which the model would name each label.',
    );
  return pairs;
}

/** Sorted as scikit-learn sorts labels, so that scores have the order that `roc_auc` expects. */
const sorted = (pairs: [Label, string][]): [Label, string][] =>
  [...pairs].sort(([a], [b]) => (typeof a === 'number' && typeof b === 'number' ? a - b : String(a) < String(b) ? -1 : 1));

function softmax(values: number[]): number[] {
  const most = Math.max(...values);
  const weights = values.map((value) => Math.exp(value - most));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/**
 * Labels of rows by the probability of the texts that mean them, as lm-evaluation-harness decides multiple choice: nothing is generated,
 * so that every answer is one of the labels. What the prompts have in common is read once.
 */
export async function classify(
  model: CausalLM | PeftModel<CausalLM>,
  dataset: Iterable<Row>,
  given: Pick<ClassifyOptions, 'tokenizer' | 'prompt' | 'choices'> & Partial<ClassifyOptions>,
): Promise<Classified> {
  const missing = undefined as unknown;
  const defaults = { tokenizer: missing, prompt: missing, choices: missing, normalize: null, max_length: null } as ClassifyOptions;
  const { tokenizer, prompt, choices, normalize, max_length } = readOptions('classify', given, defaults);
  oneOf('normalize', normalize, ['tokens', 'characters', 'bytes', null]);
  if (typeof prompt !== 'function')
    throw new OptionError(`classify: prompt must be a function of a row, (row) => \`Text: \${row.text}\`, but is ${show(prompt)}.`);
  const pairs = sorted(readChoices(choices));
  const rows = [...dataset];
  if (!rows.length) throw new DataError('classify was given no rows.');
  const requests = rows.flatMap((row) => {
    const context = prompt(row);
    return pairs.map(([, text]) => [context, typeof context === 'string' ? ` ${text}` : text] as const);
  });
  const answers = await loglikelihood(model, requests, { tokenizer, max_length });
  const size = {
    tokens: (i: number) => answers[i].tokens,
    characters: (i: number) => requests[i][1].trim().length,
    bytes: (i: number) => Buffer.byteLength(requests[i][1].trim()),
  };
  const logprobs = rows.map((_, row) => pairs.map((_, k) => answers[row * pairs.length + k].logprob));
  const values = rows.map((_, row) => pairs.map((_, k) => logprobs[row][k] / (normalize ? size[normalize](row * pairs.length + k) : 1)));
  return {
    predictions: values.map((its) => pairs[its.indexOf(Math.max(...its))][0]),
    prediction_scores: values.map(softmax),
    labels: pairs.map(([label]) => label),
    logprobs,
  };
}
