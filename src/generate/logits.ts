import type { Random } from '../core/random';
import type { GenerationSettings } from './generation_fields';

const OUT = Number.NEGATIVE_INFINITY;
const out = (logits: Float32Array, ids: Iterable<number>) => {
  for (const id of ids) logits[id] = OUT;
};

/** log of the sum of exp: what is taken off logits for log softmax. */
export function logTotal(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > most) most = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  return most + Math.log(sum);
}

/** Places of the `count` largest values, the largest first; of equal ones the first. */
export function largest(values: ArrayLike<number>, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; count > 0 && i < values.length; i++) {
    if (best.length === count && !(values[i] > values[best[count - 1]])) continue;
    let at = best.length;
    while (at > 0 && values[i] > values[best[at - 1]]) at--;
    best.splice(at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

/** What generation has come to: all tokens so far, and how many of them are the prompt. */
export interface Progress {
  tokens: number[];
  prompt: number;
  /** How many tokens there may be in all. */
  limit: number;
  eos: ReadonlySet<number>;
  /** What stands before it in a batch of longer rows: lengths count it, as in transformers. Default: 0. */
  padding?: number;
}

/** The tokens that would make a sequence of `n` come a second time. */
function repeated(tokens: number[], n: number): number[] {
  const begun = tokens.slice(tokens.length - n + 1).join();
  const found: number[] = [];
  for (let i = 0; i + n <= tokens.length; i++) if (tokens.slice(i, i + n - 1).join() === begun) found.push(tokens[i + n - 1]);
  return found;
}

/** OpenAI's penalties, of what the answer has so far. */
function penalise(
  logits: Float32Array,
  { presence_penalty: once, frequency_penalty: each }: GenerationSettings,
  { tokens, prompt }: Progress,
): void {
  if (!once && !each) return;
  const counts = new Map<number, number>();
  for (const id of tokens.slice(prompt)) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of counts) logits[id] -= (once ?? 0) + (each ?? 0) * count;
}

/**
 * What is asked of every next token, in the order of transformers' processors; in place. The penalty divides what was said before
 * (Keskar et al., 2019, https://arxiv.org/abs/1909.05858).
 */
export function constrain(logits: Float32Array, o: GenerationSettings, progress: Progress): void {
  const { tokens, prompt, limit, eos, padding = 0 } = progress;
  const { repetition_penalty: penalty, no_repeat_ngram_size: ngram, bad_words_ids: words } = o;
  if (penalty && penalty !== 1)
    for (const id of new Set(tokens)) logits[id] = logits[id] > 0 ? Math.fround(logits[id] / penalty) : Math.fround(logits[id] * penalty);
  penalise(logits, o, progress);
  if (ngram && tokens.length >= ngram) out(logits, repeated(tokens, ngram));
  for (const word of words ?? []) {
    const last = word[word.length - 1];
    const before = word.slice(0, -1);
    const ends = word.length === 1 && eos.has(last);
    const fits = word.length === 1 || word.length <= tokens.length;
    if (!ends && fits && before.join() === tokens.slice(tokens.length - before.length).join()) out(logits, [last]);
  }
  const least = Math.max((o.min_length ?? 0) - padding, o.min_new_tokens ? prompt + o.min_new_tokens : 0);
  if (tokens.length < least) out(logits, eos);
  if (o.forced_eos_token_id !== null && tokens.length === limit - 1) {
    logits.fill(OUT);
    for (const id of [o.forced_eos_token_id].flat()) logits[id] = 0;
  }
  const [start, factor] = o.exponential_decay_length_penalty ?? [Number.POSITIVE_INFINITY, 1];
  const beyond = tokens.length - prompt - start;
  if (beyond > 0) for (const id of eos) logits[id] += Math.abs(logits[id]) * (factor ** beyond - 1);
  if (o.suppress_tokens) out(logits, o.suppress_tokens);
  if (o.begin_suppress_tokens && tokens.length === prompt) out(logits, o.begin_suppress_tokens);
}

/** Whether `constrain` may change anything: otherwise the likeliest token is the model's own. */
export const constrains = (o: GenerationSettings): boolean =>
  Boolean(
    (o.repetition_penalty && o.repetition_penalty !== 1) ||
      o.no_repeat_ngram_size ||
      o.bad_words_ids?.length ||
      o.min_length ||
      o.min_new_tokens ||
      o.presence_penalty ||
      o.frequency_penalty ||
      o.exponential_decay_length_penalty,
  ) || Boolean(o.forced_eos_token_id !== null || o.suppress_tokens || o.begin_suppress_tokens);

export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Tokens that may be drawn, the likeliest first, with their shares; the shares add up to 1. */
export interface Candidates {
  ids: number[];
  shares: number[];
}

/** Share and entropy of what is left after each rule: transformers takes the softmax anew. */
function keep({ ids, shares }: Candidates, fewest: number, count: (shares: number[]) => number): Candidates {
  const kept = Math.min(ids.length, Math.max(fewest, count(shares)));
  const some = shares.slice(0, kept);
  const total = some.reduce((a, b) => a + b, 0);
  return { ids: ids.slice(0, kept), shares: some.map((share) => share / total) };
}

const entropy = (shares: number[]) => -shares.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);

/** Tokens whose surprise is nearest to what is expected, up to `mass` (Meister et al., 2022, https://arxiv.org/abs/2202.00666). */
function typical({ ids, shares }: Candidates, fewest: number, mass: number): Candidates {
  const expected = entropy(shares);
  const far = shares.map((p) => Math.abs(-Math.log(p) - expected));
  const order = [...ids.keys()].sort((a, b) => far[a] - far[b]);
  let sum = 0;
  let last = 0;
  for (; last < order.length - 1; last++) {
    sum += shares[order[last]];
    if (sum >= mass) break;
  }
  const most = far[order[Math.min(order.length, Math.max(fewest, last + 1)) - 1]];
  const kept = [...ids.keys()].filter((i) => far[i] <= most);
  const total = kept.reduce((all, i) => all + shares[i], 0);
  return { ids: kept.map((i) => ids[i]), shares: kept.map((i) => shares[i] / total) };
}

type Warping = Pick<GenerationSettings, 'temperature' | 'top_k' | 'top_p'> &
  Partial<Pick<GenerationSettings, 'min_p' | 'typical_p' | 'epsilon_cutoff' | 'eta_cutoff'>>;

/** What may be drawn of a row of logits: temperature, then the rules in the order of transformers; at least `fewest` tokens, where there are so many. */
export function candidates(logits: Float32Array, o: Warping, fewest = 1): Candidates {
  const temperature = o.temperature ?? 1;
  const k = o.top_k ? Math.min(Math.max(o.top_k, fewest), logits.length) : logits.length;
  // As many as are as good as the k-th.
  const least = k < logits.length ? logits.slice().sort()[logits.length - k] : OUT;
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) if (logits[id] >= least && logits[id] !== OUT) ids.push(id);
  ids.sort((a, b) => logits[b] - logits[a]);
  const weights = ids.map((id) => Math.exp((logits[id] - logits[ids[0]]) / temperature));
  let found = keep({ ids, shares: weights }, fewest, (all) => all.length);
  const { top_p, min_p, typical_p, epsilon_cutoff: epsilon, eta_cutoff: eta } = o;
  if (top_p && top_p < 1)
    found = keep(found, fewest, (shares) => {
      let [kept, mass] = [0, 0];
      while (kept < shares.length && mass < top_p) mass += shares[kept++];
      return kept;
    });
  const above = (least: (shares: number[]) => number) => {
    found = keep(found, fewest, (shares) => {
      const bound = least(shares);
      return shares.filter((p) => p >= bound).length;
    });
  };
  if (min_p) above(([best]) => min_p * best);
  if (typical_p && typical_p < 1) found = typical(found, fewest, typical_p);
  if (epsilon) above(() => epsilon);
  if (eta) above((shares) => Math.min(eta, Math.sqrt(eta) * Math.exp(-entropy(shares))));
  return found;
}

/** Draws one token of a row of logits. */
export function sample(logits: Float32Array, o: Warping, random: Random): number {
  const { ids, shares } = candidates(logits, o);
  let draw = random.uniform();
  for (const [i, share] of shares.entries()) {
    draw -= share;
    if (draw < 0) return ids[i];
  }
  return ids[ids.length - 1];
}
