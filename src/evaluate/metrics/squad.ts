import { DataError } from '../../core/errors';
import { show } from '../../core/options';
import { type Column, metric } from './metric';
import { harmonic, ngrams, shared, split } from './words';

/** Lower case, without punctuation and articles, one space between words: what the SQuAD script compares. */
const normalized = (text: string): string =>
  split(
    text
      .toLowerCase()
      .replace(/[!-/:-@[-`{-~]/g, '')
      .replace(/(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu, ' '),
  ).join(' ');

function tokenF1(said: string, meant: string): number {
  const [a, b] = [split(normalized(said)), split(normalized(meant))];
  const same = shared(ngrams(a, 1), ngrams(b, 1));
  return same ? harmonic(same / a.length, same / b.length) : 0;
}

/** Rows as the SQuAD script has them, {id, prediction_text} and {id, answers: {text: [...]}}, in the order of the predictions; or plain texts. */
function pairs(predictions: Column, references: Column): [string, string[]][] {
  type Row = { id?: unknown; prediction_text?: unknown; answers?: { text?: unknown } };
  const byId = new Map((references as Row[]).map((row) => [row?.id, row]));
  return predictions.map((prediction, i) => {
    const row = prediction as Row;
    const said = typeof prediction === 'string' ? prediction : row?.prediction_text;
    const reference = typeof prediction === 'string' ? references[i] : byId.get(row?.id);
    const answers =
      typeof reference === 'string' || Array.isArray(reference) ? [reference].flat() : (reference as Row | undefined)?.answers?.text;
    if (typeof said !== 'string' || !Array.isArray(answers) || !answers.length || !answers.every((text) => typeof text === 'string'))
      throw new DataError(
        `The metric 'squad' takes texts, or {id, prediction_text} and {id, answers: {text: [...]}}, but row ${i} is ${show(prediction)} with ${show(reference)}.`,
      );
    return [said, answers];
  });
}

/** Exact match and token F1 in percent, the best of a row's answers (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250). */
export const squad = metric({
  description: 'Exact match and F1 of the words that answer and reference share, in percent.',
  inputs: ['predictions', 'references'],
  options: {},
  compute({ predictions, references }) {
    const rows = pairs(predictions, references);
    const mean = (of: (said: string, meant: string) => number) =>
      (100 * rows.reduce((sum, [said, answers]) => sum + Math.max(...answers.map((meant) => of(said, meant))), 0)) / rows.length;
    return { exact_match: mean((said, meant) => Number(normalized(said) === normalized(meant))), f1: mean(tokenF1) };
  },
});
