import { Random } from '../core/random';
import type { Answer } from './answer';
import { beginAnswers, type Call, type Generates } from './calls';
import { type Continued, type Decoding, startDecoding } from './decoding';
import type { Constraint } from './grammar/constraint';
import { candidates, constrain, largest, logTotal } from './logits';

/** A beginning of an answer, and what its tokens' log-probabilities add up to. */
interface Beam {
  tokens: number[];
  score: number;
  form?: Constraint;
  /** The sequence that has its keys and values, but for the last token. */
  sequence: number;
}

/** A whole answer; its score is over its length. */
interface Whole {
  tokens: number[];
  score: number;
}

const round = Math.fround;

/** log softmax, in place. */
function logShares(logits: Float32Array): Float32Array {
  const total = logTotal(logits);
  for (let i = 0; i < logits.length; i++) logits[i] -= total;
  return logits;
}

/**
 * Beam search over one row, as transformers 5 does it: of the candidates of all beams the best (1 + end tokens) x num_beams are looked at, those
 * that end are answers if they are among the best num_beams, and the best that go on are the next beams.
 */
class Search {
  beams: Beam[];
  private wholes: Whole[] = [];
  /** Whether a beam may still become a better answer. */
  private hopeful = true;
  over = false;
  private readonly count: number;

  constructor(
    private readonly row: Answer,
    private readonly call: Call,
    private readonly random: Random,
    readonly sequences: number[],
  ) {
    this.count = sequences.length;
    this.beams = [{ tokens: [...row.tokens], score: 0, form: call.form, sequence: sequences[0] }];
  }

  /** Scores of what each beam can go on with; `logits` in the order of the beams. */
  private scores(logits: Float32Array[]): Float32Array {
    const { settings } = this.call;
    const { prompt, limit, eos, padding } = this.row;
    const size = logits[0].length;
    const all = new Float32Array(this.beams.length * size);
    for (const [b, { tokens, score, form }] of this.beams.entries()) {
      let own = logShares(logits[b]);
      form?.mask(own, eos);
      constrain(own, settings, { tokens, prompt, limit, eos, padding });
      if (settings.do_sample) {
        const { ids } = candidates(own, settings, Array.isArray(settings.eos_token_id) ? eos.size + 1 : 2);
        const kept = new Float32Array(size).fill(Number.NEGATIVE_INFINITY);
        for (const id of ids) kept[id] = own[id] / (settings.temperature ?? 1);
        own = kept;
      }
      if (settings.renormalize_logits) logShares(own);
      for (let i = 0; i < size; i++) all[b * size + i] = own[i] + score;
    }
    return all;
  }

  /** The places of the candidates that are looked at: the best, or drawn without putting back. */
  private chosen(scores: Float32Array): number[] {
    const looked = Math.max(2, 1 + this.row.eos.size) * this.count;
    if (!this.call.settings.do_sample) return largest(scores, looked).filter((i) => !this.call.form || Number.isFinite(scores[i]));
    // The largest of scores with Gumbel's noise are draws without putting back (https://arxiv.org/abs/1903.06059).
    const noisy = Float64Array.from(scores, (x) => (Number.isFinite(x) ? x - Math.log(-Math.log(1 - this.random.uniform())) : x));
    return largest(noisy, looked).filter((i) => Number.isFinite(scores[i]));
  }

  /** Goes on by a token; `stop`: all beams end here. */
  advance(logits: Float32Array[], decoding: Decoding, stop: boolean): void {
    const { row, call, count } = this;
    const size = logits[0].length;
    const scores = this.scores(logits);
    const looked = this.chosen(scores).map((place) => {
      const from = this.beams[Math.floor(place / size)];
      const tokens = [...from.tokens, place % size];
      const form = from.form?.after(place % size);
      const ends =
        stop ||
        form?.isOver ||
        row.eos.has(place % size) ||
        tokens.length >= row.limit ||
        call.stops?.met(tokens) ||
        performance.now() > call.until;
      return { tokens, score: scores[place], form, from, ends: Boolean(ends) };
    });
    const early = call.settings.early_stopping;
    const full = this.wholes.length === count;
    if (this.hopeful && !(full && early === true)) {
      const ended = looked.slice(0, count).filter(({ ends }) => ends);
      const all = [...this.wholes, ...ended.map(({ tokens, score }) => ({ tokens, score: this.byLength(score, tokens.length) }))];
      this.wholes = largest(
        all.map(({ score }) => score),
        count,
      ).map((i) => all[i]);
    }
    const going = looked.filter(({ ends }) => !ends);
    const next = largest(
      going.map(({ score }) => score),
      count,
    ).map((i) => going[i]);
    const everyEnded = !next.length;
    if (!everyEnded) this.move(next, decoding);
    this.hopeful &&= this.canImprove(everyEnded);
    this.over = everyEnded || !this.hopeful || (this.wholes.length === count && early === true);
  }

  private byLength(score: number, length: number): number {
    return round(score / round((length - this.row.prompt) ** (this.call.settings.length_penalty ?? 1)));
  }

  private canImprove(everyEnded: boolean): boolean {
    if (everyEnded) return false;
    const { early_stopping: early, length_penalty: penalty } = this.call.settings;
    const [best] = this.beams;
    const length = early === 'never' && (penalty ?? 1) > 0 ? this.row.limit : best.tokens.length;
    // With fewer answers than beams any will do.
    if (this.wholes.length < this.count) return true;
    return this.byLength(best.score, length) > Math.min(...this.wholes.map(({ score }) => score));
  }

  /** Keys and values go with the beams: the first that goes on from one keeps its sequence, others get copies. */
  private move(next: (Omit<Beam, 'sequence'> & { from: Beam })[], decoding: Decoding): void {
    const taken = new Set<number>();
    const placed = next.map(({ from, ...beam }) => {
      const keeps = !taken.has(from.sequence);
      taken.add(from.sequence);
      return { ...beam, from: from.sequence, sequence: keeps ? from.sequence : -1 };
    });
    const free = this.sequences.filter((sequence) => !taken.has(sequence));
    for (const beam of placed)
      if (beam.sequence < 0) {
        beam.sequence = free.pop() as number;
        decoding.copy(beam.from, beam.sequence);
      }
    this.beams = placed.map(({ from: _, ...beam }) => beam);
  }

  /** The best answers; where it was stopped before there were so many, the best beginnings too. */
  best(several: number): number[][] {
    return [...this.wholes, ...this.beams].slice(0, several).map(({ tokens }) => tokens.slice(this.row.prompt));
  }
}

/** The best answers to each row: new tokens. */
export async function beamSearch(model: Generates, rows: number[][], call: Call, several: number): Promise<number[][]> {
  const count = call.settings.num_beams as number;
  const answers = beginAnswers(model, rows, call);
  const { adapter_names: names, should_continue, seed } = call.own;
  const decoding = startDecoding(model, Math.max(...answers.map(({ limit }) => limit)), names ?? []);
  const places = (i: number) => Array.from({ length: count }, (_, j) => i * count + j);
  const searches = answers.map((row, i) => new Search(row, call, Random.seeded(seed, i), places(i)));
  const parts = (search: Search): Continued[] =>
    search.beams.map(({ tokens, sequence }) => ({
      ...{ sequence, tokens: tokens.length > answers[searches.indexOf(search)].prompt ? tokens.slice(-1) : tokens },
      adapter: names?.[searches.indexOf(search)],
    }));
  try {
    for (let stop = false; ; ) {
      const open = searches.filter(({ over }) => !over);
      if (!open.length) break;
      const all = open.map(parts);
      const logits = await decoding.step(all.flat());
      for (const [i, search] of open.entries()) search.advance(logits.splice(0, all[i].length), decoding, stop);
      await new Promise((resolve) => setImmediate(resolve));
      stop = should_continue?.() === false;
    }
    return searches.flatMap((search) => search.best(several));
  } finally {
    decoding.dispose();
  }
}
