import { OptionError } from '../../core/errors';
import { show } from '../../core/options';
import { metric, textLists, texts } from './metric';
import { harmonic, ngrams, shared } from './words';

const wordsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean);

/** Lengths of the longest common subsequences of all beginnings of a and b. */
function subsequences(a: string[], b: string[]): Uint32Array[] {
  const table = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++)
      table[i][j] = a[i - 1] === b[j - 1] ? table[i - 1][j - 1] + 1 : Math.max(table[i - 1][j], table[i][j - 1]);
  return table;
}

/** Which words of a are in one longest common subsequence with b. */
function inCommon(a: string[], b: string[]): number[] {
  const table = subsequences(a, b);
  const found: number[] = [];
  for (let [i, j] = [a.length, b.length]; i > 0 && j > 0; )
    if (a[i - 1] === b[j - 1]) {
      found.push(i - 1);
      i--;
      j--;
    } else if (table[i][j - 1] > table[i - 1][j]) j--;
    else i--;
  return found;
}

const f1 = (hits: number, said: number, meant: number) => (said && meant ? harmonic(hits / said, hits / meant) : 0);

/** Sentence by sentence, each word counted as often as both texts have it (section 3.2 of the paper, as ROUGE 1.5.5 does it). */
function summary(said: string, meant: string): number {
  const sentences = (text: string) => text.split('\n').filter(Boolean).map(wordsOf);
  const [theirs, ours] = [sentences(meant), sentences(said)];
  const left = [ngrams(ours.flat(), 1), ngrams(theirs.flat(), 1)];
  let hits = 0;
  for (const sentence of theirs) {
    const union = [...new Set(ours.flatMap((other) => inCommon(sentence, other)))].sort((a, b) => a - b);
    for (const word of union.map((i) => sentence[i]))
      if (left.every((counts) => (counts.get(word) ?? 0) > 0)) {
        hits++;
        for (const counts of left) counts.set(word, (counts.get(word) ?? 0) - 1);
      }
  }
  return f1(hits, ours.flat().length, theirs.flat().length);
}

/** F1 of one prediction and one reference, of a type that rouge_score knows. */
function scoreOf(type: string, said: string, meant: string): number {
  if (type === 'rougeLsum') return summary(said, meant);
  const [a, b] = [wordsOf(said), wordsOf(meant)];
  if (type === 'rougeL') return f1(subsequences(a, b)[a.length][b.length], a.length, b.length);
  const n = Number(type.slice(5));
  const [ours, theirs] = [Math.max(0, a.length - n + 1), Math.max(0, b.length - n + 1)];
  return f1(shared(ngrams(a, n), ngrams(b, n)), ours, theirs);
}

/**
 * F1 of shared words (rouge1), pairs of words (rouge2) and the longest common subsequence (rougeL; rougeLsum by lines), from 0 to 1 (Lin 2004).
 * Each row's is equal to rouge_score's, the greatest over its references; the mean over rows, or with `use_aggregator: false` a list of all.
 */
export const rouge = metric({
  description: 'How many words, pairs of words and subsequences prediction and reference share.',
  inputs: ['predictions', 'references'],
  options: { rouge_types: ['rouge1', 'rouge2', 'rougeL', 'rougeLsum'], use_aggregator: true, use_stemmer: false },
  compute({ predictions, references }, { rouge_types, use_aggregator, use_stemmer }) {
    if (use_stemmer)
      throw new OptionError(
        "use_stemmer is not there: ROUGE is of the words as they are, as Python's evaluate has it unless asked. Leave it out.",
      );
    const odd = rouge_types.find((type) => !/^rouge([1-9]|L|Lsum)$/.test(type));
    if (odd !== undefined) throw new OptionError(`rouge_types are rouge1 to rouge9, rougeL and rougeLsum; ${show(odd)} is none of them.`);
    const [said, meant] = [texts(predictions, 'predictions'), textLists(references, 'references')];
    const rows = (type: string) => said.map((text, row) => Math.max(...meant[row].map((reference) => scoreOf(type, text, reference))));
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return Object.fromEntries(rouge_types.map((type) => [type, use_aggregator ? mean(rows(type)) : rows(type)]));
  },
});
