import { inspect } from 'node:util';
import { DataError, OptionError } from '../core/errors';
import { escapeHtml, rowLines, tableHtml } from '../core/html';
import { checkNumber, readOptions, show } from '../core/options';
import { DISPLAY, type Shown, withChart } from '../core/shown';
import { CausalLM } from '../models/causal_lm';
import { PeftModel } from '../peft/model';
import { pipeline } from '../pipelines/text_generation';
import type { Message, Tokenizer } from '../tokenizers/tokenizer';
import { asked, baseBefore } from './asked';
import { type Asked, askedText, ModelPairwiseJudge, type PairwiseJudge, type Rank } from './judge';
import { type Interval, type McNemar, mcnemar } from './statistics';

/** A model that is asked, or the answers that it gave. */
export type Answering = CausalLM | PeftModel<CausalLM> | readonly string[];

export interface JudgeOptions {
  prompts: readonly Asked[];
  /** Left out beside an adapter: its model without it. */
  before: Answering | null;
  after: Answering;
  /** Who judges, by name: `{ reader: new ReaderPairwiseJudge(), model: new ModelPairwiseJudge(other, { tokenizer }) }`. */
  judges: Record<string, PairwiseJudge>;
  tokenizer: Tokenizer | null;
  /** Tokens of an answer, at most; answers are greedy. */
  max_new_tokens: number;
}

type Winner = 'before' | 'after' | 'neither';
const WINNERS: Record<Rank, Winner> = { 0: 'before', 1: 'after', [-1]: 'neither' };

/** What one judge found. */
export interface Verdicts {
  name: string;
  winners: Winner[];
  /** The share of decided pairs in which after won, with its interval of 95 % (Wilson 1927). NaN where nothing was decided. */
  win_rate: Interval;
  /** Whether after and before differ by more than chance. */
  test: McNemar;
  /** Where a model judged: the share of pairs that it judged alike in both orders. */
  consistency?: number;
}

/** The interval of a share: Wilson's, which stays between 0 and 1. */
function wilson(won: number, n: number, z = 1.959964): Interval {
  const p = won / n;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { value: p, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** How far two judges agree beyond chance (Cohen 1960); 1 where they always do. */
export function kappa(a: readonly unknown[], b: readonly unknown[]): number {
  const share = (of: readonly unknown[], label: unknown) => of.filter((its) => its === label).length / of.length;
  const observed = a.filter((its, i) => its === b[i]).length / a.length;
  const chance = [...new Set([...a, ...b])].reduce<number>((sum, label) => sum + share(a, label) * share(b, label), 0);
  return chance === 1 ? 1 : (observed - chance) / (1 - chance);
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const shareText = ({ value, low, high }: Interval) =>
  Number.isNaN(value) ? 'nothing was decided' : `${percent(value)} (${percent(low)} to ${percent(high)})`;

/** Two models' answers to the same prompts, and which of them each judge prefers; a table in a notebook and on a terminal. */
export class Judgement {
  constructor(
    readonly rows: readonly { prompt: string; before: string; after: string }[],
    readonly verdicts: readonly Verdicts[],
  ) {}

  /** Of two judges: the share of pairs on which they agree, and Cohen's kappa. */
  agreement(): { judges: [string, string]; share: number; kappa: number }[] {
    return this.verdicts.flatMap((a, i) =>
      this.verdicts.slice(i + 1).map((b) => ({
        judges: [a.name, b.name] as [string, string],
        share: a.winners.filter((winner, row) => winner === b.winners[row]).length / a.winners.length,
        kappa: kappa(a.winners, b.winners),
      })),
    );
  }

  table(): Record<string, string | number>[] {
    const count = ({ winners }: Verdicts, winner: Winner) => winners.filter((its) => its === winner).length;
    return this.verdicts.map((its) => ({
      judge: its.name,
      'after better': count(its, 'after'),
      'before better': count(its, 'before'),
      neither: count(its, 'neither'),
      'after wins': shareText(its.win_rate),
      p: its.test.p_value < 0.001 ? 'below 0.001' : its.test.p_value.toFixed(3),
      ...(its.consistency === undefined ? {} : { 'same in both orders': percent(its.consistency) }),
    }));
  }

  private notes(): string[] {
    return this.agreement().map(
      ({ judges: [a, b], share, kappa: k }) => `${a} and ${b} agree on ${percent(share)} of the pairs (Cohen's kappa ${k.toFixed(2)}).`,
    );
  }

  toJSON(): object {
    return { rows: this.rows, verdicts: this.verdicts, agreement: this.agreement() };
  }

  [inspect.custom](): string {
    return [...rowLines(this.table()), ...this.notes()].join('\n');
  }

  [DISPLAY](): Promise<Shown> {
    const rows = this.rows.map((row, i) => ({
      ...row,
      ...Object.fromEntries(this.verdicts.map(({ name, winners }) => [name, winners[i]])),
    }));
    const html =
      tableHtml(this.table()) +
      this.notes()
        .map((note) => `<p>${escapeHtml(note)}</p>`)
        .join('') +
      `<details><summary>${rows.length} pairs of answers</summary>${tableHtml(rows)}</details>`;
    const decided = this.verdicts.filter(({ win_rate }) => !Number.isNaN(win_rate.value));
    const data = { results: decided.map(({ name, win_rate }) => ({ name, metrics: { 'after wins': win_rate } })), matrices: [] };
    const shown = { 'text/html': html, 'text/plain': this[inspect.custom]() };
    return decided.length
      ? withChart(shown, { kind: 'comparison', data, alt: 'How often after won, by judge, with intervals of 95 %' })
      : Promise.resolve(shown);
  }
}

/** Answers to the prompts, greedy; conversations by the chat template where there is one. */
async function answersOf(
  name: string,
  who: Answering,
  { prompts, after, tokenizer, max_new_tokens }: JudgeOptions,
): Promise<readonly string[]> {
  if (!(who instanceof CausalLM || who instanceof PeftModel)) {
    if (who.length === prompts.length) return who;
    throw new DataError(`judge: ${name} has ${who.length} answers to ${prompts.length} prompts.`);
  }
  if (!tokenizer)
    throw new OptionError(
      `judge: ${name} is a model, which is asked by a tokenizer; give it: { tokenizer }. Or give its answers as texts.`,
    );
  const pipe = await pipeline('text-generation', who, { tokenizer });
  const options = { max_new_tokens, do_sample: false, return_full_text: false } as const;
  const answer = async (prompt: Asked): Promise<string> => {
    if (typeof prompt === 'string' && !tokenizer.chat_template) return (await pipe(prompt, options))[0].generated_text;
    const messages: Message[] = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : [...prompt];
    return (await pipe(messages, options))[0].generated_text;
  };
  return asked(who, after, async () => {
    const answers: string[] = [];
    for (const prompt of prompts) answers.push(await answer(prompt));
    return answers;
  });
}

/**
 * Which of two models' answers are better, by a third model, by the reader, or by both: pairs are judged blind, in shuffled order. Beside an
 * adapter (`after`: a PeftModel) `before` is the same model with the adapter off.
 */
export async function judge(given: Pick<JudgeOptions, 'prompts' | 'after' | 'judges'> & Partial<JudgeOptions>): Promise<Judgement> {
  const missing = undefined as never;
  const defaults = { prompts: missing, before: null, after: missing, judges: missing, tokenizer: null, max_new_tokens: 128 };
  const options = readOptions<JudgeOptions>('judge', given, defaults);
  const { prompts, before, after, judges } = options;
  if (!Array.isArray(prompts) || !prompts.length)
    throw new DataError(`judge: prompts must be a list of at least one prompt, but is ${show(prompts)}.`);
  if (!after) throw new OptionError('judge needs after: a model, or its answers as texts.');
  if (!judges || !Object.keys(judges).length || Object.values(judges).some((its) => typeof its?.judge !== 'function'))
    throw new OptionError(
      `judge: judges must name who judges, { reader: new ReaderPairwiseJudge() } or { model: new ModelPairwiseJudge(model, { tokenizer }) }, but is ${show(judges)}.`,
    );
  checkNumber('judge', 'max_new_tokens', options.max_new_tokens, { integer: true, min: 1 }, '128 is usual.');
  const first = before ?? baseBefore('judge', after, 'its answers as texts');
  const said = { before: await answersOf('before', first, options), after: await answersOf('after', after, options) };
  const rows = prompts.map((prompt, i) => ({ prompt: askedText(prompt), before: said.before[i], after: said.after[i] }));
  const verdicts: Verdicts[] = [];
  for (const [name, its] of Object.entries(judges)) {
    const pairs = rows.map((row) => [row.before, row.after] as const);
    const ranks = await asked(its instanceof ModelPairwiseJudge ? its.model : null, after, () => its.judge(prompts, pairs));
    if (ranks.length !== prompts.length || ranks.some((rank) => !(rank in WINNERS)))
      throw new DataError(`judge: ${name} said ${show(ranks)} of ${prompts.length} pairs; each must be 0, 1 or -1.`);
    const winners = ranks.map((rank) => WINNERS[rank]);
    const won = winners.map((winner) => winner === 'after');
    const lost = winners.map((winner) => winner === 'before');
    const decided = won.filter((w, i) => w || lost[i]).length;
    const none = { value: Number.NaN, low: Number.NaN, high: Number.NaN };
    verdicts.push({
      name,
      winners,
      win_rate: decided ? wilson(won.filter(Boolean).length, decided) : none,
      test: mcnemar(lost, won),
      ...(its instanceof ModelPairwiseJudge ? { consistency: its.consistency } : {}),
    });
  }
  return new Judgement(rows, verdicts);
}
