import { OptionError } from '../core/errors';
import { checkNumber, readOptions, show } from '../core/options';
import { Random } from '../core/random';
import type { Row } from '../data/dataset';
import type { Tokenizer } from '../tokenizers/tokenizer';

export interface FewShotOptions {
  /** How many examples stand before the question; fewer where `max_length` has no room for more. */
  k: number;
  /** 'similar': those that share the most telling words with the question, the nearest last; 'random': the same for every question. */
  choose: 'similar' | 'random';
  seed: number;
  /** What stands between examples. */
  delimiter: string;
  /** Tokens that examples and question may have; counted by `tokenizer`. */
  max_length: number | null;
  tokenizer: Tokenizer | null;
}

const words = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** Vectors of words, the rarer the heavier (tf-idf, as scikit-learn's TfidfVectorizer smooths it), of length 1. */
function vectors(texts: string[]): (text: string) => Map<string, number> {
  const documents = new Map<string, number>();
  for (const text of texts) for (const word of new Set(words(text))) documents.set(word, (documents.get(word) ?? 0) + 1);
  return (text) => {
    const counts = new Map<string, number>();
    for (const word of words(text)) if (documents.has(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
    for (const [word, count] of counts)
      counts.set(word, count * (Math.log((1 + texts.length) / (1 + (documents.get(word) as number))) + 1));
    const length = Math.hypot(...counts.values()) || 1;
    return new Map([...counts].map(([word, weight]) => [word, weight / length]));
  };
}

const cosine = (a: Map<string, number>, b: Map<string, number>): number => {
  let sum = 0;
  for (const [word, weight] of a) sum += weight * (b.get(word) ?? 0);
  return sum;
};

/**
 * A prompt with solved examples before the question (in-context learning, Brown et al. 2020). `question` is the prompt of a row,
 * `answer` what stands behind it in an example: `fewShot(train, { question: (r) => \`Text: \${r.text}\\nLabel:\`, answer: (r) => \` \${r.label}\` }, { k: 4 })`.
 */
export function fewShot(
  examples: Iterable<Row>,
  { question, answer }: { question: (row: Row) => string; answer: (row: Row) => string },
  given: Partial<FewShotOptions> = {},
): (row: Row) => string {
  const defaults: FewShotOptions = { k: 4, choose: 'similar', seed: 42, delimiter: '\n\n', max_length: null, tokenizer: null };
  const { k, choose, seed, delimiter, max_length, tokenizer } = readOptions('fewShot', given, defaults);
  checkNumber('fewShot', 'k', k, { integer: true, min: 0 }, '0 is zero-shot.');
  if (choose !== 'similar' && choose !== 'random')
    throw new OptionError(`fewShot: choose must be 'similar' or 'random', but is ${show(choose)}.`);
  if (max_length !== null && !tokenizer) throw new OptionError('fewShot: max_length counts tokens; give the tokenizer beside it.');
  const rows = [...examples];
  if (rows.length < k)
    throw new OptionError(`fewShot: there are ${rows.length} examples, but k is ${k}. Give more, or set k to at most ${rows.length}.`);
  const texts = rows.map(question);
  const vector = vectors(texts);
  const known = choose === 'similar' ? texts.map(vector) : [];
  const order = Random.seeded(seed).shuffled([...rows.keys()]);
  const nearest = (text: string) => {
    const its = vector(text);
    const near = known.map((other) => cosine(its, other));
    return [...near.keys()].sort((a, b) => near[b] - near[a] || a - b);
  };
  const room = (text: string) => max_length === null || (tokenizer as Tokenizer).encode(text).length <= max_length;
  return (row) => {
    const asked = question(row);
    // A row that is among the examples is not its own.
    const chosen = (choose === 'similar' ? nearest(asked) : order).filter((i) => rows[i] !== row && texts[i] !== asked).slice(0, k);
    let prompt = asked;
    for (const i of chosen) {
      const longer = `${texts[i]}${answer(rows[i])}${delimiter}${prompt}`;
      if (!room(longer)) break;
      prompt = longer;
    }
    return prompt;
  };
}
