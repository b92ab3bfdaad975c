import { OptionError } from '../../core/errors';
import { checkNumber, show } from '../../core/options';
import { metric, oneOf, textLists, texts } from './metric';
import { ngrams, shared, split, withoutEnd } from './words';

const ORDER = 4;

/** Words as mteval-v13a finds them: BLEU's usual tokens. */
function words13a(line: string): string {
  const plain = line
    .replaceAll('<skipped>', '')
    .replaceAll('-\n', '')
    .replaceAll('\n', ' ')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>');
  return ` ${plain} `
    .replace(/([{-~[-` -&(-+:-@/])/gu, ' $1 ')
    .replace(/([^0-9])([.,])/gu, '$1 $2 ')
    .replace(/([.,])([^0-9])/gu, ' $1 $2')
    .replace(/([0-9])(-)/gu, '$1 $2 ');
}

/** How a line is cut into words, by sacrebleu's names; what lies between spaces afterwards is a word. */
const TOKENIZERS: Record<string, (line: string) => string> = {
  '13a': words13a,
  intl: (line) =>
    line
      .replace(/(\P{N})(\p{P})/gu, '$1 $2 ')
      .replace(/(\p{P})(\P{N})/gu, ' $1 $2')
      .replace(/(\p{S})/gu, ' $1 '),
  char: (line) => [...line].join(' '),
  none: (line) => line,
};

interface Statistics {
  correct: number[];
  total: number[];
  said: number;
  meant: number;
}

/** What predictions and references have in common, over all rows; of several references, each run of words as often as the one that has it most. */
function statistics(predictions: string[][], references: string[][][]): Statistics {
  const sum: Statistics = { correct: Array(ORDER).fill(0), total: Array(ORDER).fill(0), said: 0, meant: 0 };
  predictions.forEach((said, row) => {
    const lengths = references[row].map((words) => words.length);
    sum.said += said.length;
    sum.meant += lengths.reduce((best, length) => {
      const nearer = Math.abs(length - said.length) - Math.abs(best - said.length);
      return nearer < 0 || (nearer === 0 && length < best) ? length : best;
    });
    for (let n = 1; n <= ORDER; n++) {
      const most = new Map<string, number>();
      for (const words of references[row])
        for (const [gram, count] of ngrams(words, n)) most.set(gram, Math.max(most.get(gram) ?? 0, count));
      sum.correct[n - 1] += shared(ngrams(said, n), most);
      sum.total[n - 1] += Math.max(0, said.length - n + 1);
    }
  });
  return sum;
}

const SMOOTHING = { none: null, floor: 0.1, 'add-k': 1, exp: null } as const;

/** Shares of right runs in percent and how many orders count (Chen and Cherry 2014 for smoothing, as sacrebleu has it). */
function precisionsOf({ correct, total }: Statistics, method: keyof typeof SMOOTHING, value: number | null, effective: boolean) {
  const precisions: number[] = Array(ORDER).fill(0);
  let [orders, halves] = [ORDER, 1];
  if (!correct.some((n) => n)) return { precisions, orders };
  for (let n = 0; n < ORDER; n++) {
    if (method === 'add-k' && n > 0) {
      correct[n] += value ?? 1;
      total[n] += value ?? 1;
    }
    if (!total[n]) break;
    if (effective) orders = n + 1;
    if (correct[n]) precisions[n] = (100 * correct[n]) / total[n];
    else if (method === 'exp') {
      halves *= 2;
      precisions[n] = 100 / (halves * total[n]);
    } else if (method === 'floor') precisions[n] = (100 * (value ?? 0.1)) / total[n];
  }
  return { precisions, orders };
}

/** BLEU in percent (Papineni et al. 2002), equal to sacrebleu's: options and results have its names. */
export const sacrebleu = metric({
  description: 'How many runs of one to four words the predictions share with the references, in percent.',
  inputs: ['predictions', 'references'],
  options: {
    smooth_method: 'exp' as keyof typeof SMOOTHING,
    smooth_value: null as number | null,
    lowercase: false,
    tokenize: '13a',
    use_effective_order: false,
  },
  compute({ predictions, references }, { smooth_method, smooth_value, lowercase, tokenize, use_effective_order }) {
    oneOf('smooth_method', smooth_method, Object.keys(SMOOTHING) as (keyof typeof SMOOTHING)[]);
    if (smooth_value !== null)
      checkNumber("The metric 'sacrebleu'", 'smooth_value', smooth_value, { above: 0 }, 'Leave it out for the usual one.');
    if (!Object.hasOwn(TOKENIZERS, tokenize))
      throw new OptionError(
        `tokenize must be one of ${Object.keys(TOKENIZERS).map(show).join(', ')}, but is ${show(tokenize)}. ` +
          "sacrebleu's tokenizers of Chinese, Japanese and Korean and its SentencePiece models are not there: cut the texts into words yourself, and set tokenize to 'none'.",
      );
    const words = (text: string) => split(TOKENIZERS[tokenize](withoutEnd(lowercase ? text.toLowerCase() : text)));
    const sum = statistics(
      texts(predictions, 'predictions').map(words),
      textLists(references, 'references').map((list) => list.map(words)),
    );
    const bp = sum.said >= sum.meant ? 1 : sum.said ? Math.exp(1 - sum.meant / sum.said) : 0;
    const { precisions, orders } = precisionsOf(sum, smooth_method, smooth_value, use_effective_order);
    // A precision of 0 makes the mean 0: sacrebleu has -9999999999 for the logarithm of it.
    const logs = precisions.slice(0, orders).reduce((total, p) => total + (p ? Math.log(p) : -9999999999), 0);
    const score = precisions.some((p) => p) ? bp * Math.exp(logs / orders) : 0;
    return { score, counts: sum.correct, totals: sum.total, precisions, bp, sys_len: sum.said, ref_len: sum.meant };
  },
});
