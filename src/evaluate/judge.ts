import { createInterface } from 'node:readline/promises';
import { DataError, OptionError } from '../core/errors';
import { emit } from '../core/events';
import { escapeHtml } from '../core/html';
import { show } from '../core/options';
import { Random } from '../core/random';
import { preHtml } from '../core/shown';
import type { CausalLM } from '../models/causal_lm';
import type { PeftModel } from '../peft/model';
import type { Message, Tokenizer } from '../tokenizers/tokenizer';
import { loglikelihood } from './likelihood';

/** What was asked: a text, or the messages before the answer. */
export type Asked = string | readonly Message[];
/** Of two answers the index of the better one; -1 where neither is. */
export type Rank = 0 | 1 | -1;

/** Says which of two answers to a prompt is the better one, as TRL's judges do. */
export interface PairwiseJudge {
  /** For each prompt the index of the better of its two completions, -1 where neither is. `shuffle_order`: the judge does not see which is the first. */
  judge(prompts: readonly Asked[], completions: readonly (readonly [string, string])[], shuffle_order?: boolean): Promise<Rank[]>;
}

/** A prompt as one text. */
export const askedText = (asked: Asked): string =>
  typeof asked === 'string' ? asked : asked.map(({ role, content }) => (asked.length > 1 ? `${role}: ${content}` : content)).join('\n');

function check(prompts: readonly Asked[], completions: readonly (readonly [string, string])[]): void {
  if (prompts.length !== completions.length)
    throw new DataError(
      `A judge was given ${prompts.length} prompts and ${completions.length} pairs of completions; there must be a pair for each prompt.`,
    );
  for (const [i, pair] of completions.entries())
    if (!Array.isArray(pair) || pair.length !== 2 || pair.some((text) => typeof text !== 'string'))
      throw new DataError(`A judge compares two texts for each prompt, but for prompt ${i} it was given ${show(pair)}.`);
}

export interface ModelJudgeOptions {
  tokenizer: Tokenizer;
  /** What makes an answer the better one, as a sentence of the question. */
  criterion?: string;
  /** Whether both orders must name the same answer. Default: true. */
  strict?: boolean;
}

/**
 * A language model as judge, after Zheng et al. 2023 (MT-Bench): it is shown both answers under the letters A and B, in both orders, since models
 * prefer a place. Where the orders contradict each other neither is the better one (-1); with `strict: false` the order that it is surer of counts.
 */
export class ModelPairwiseJudge implements PairwiseJudge {
  /** Of the pairs judged last, the share in which both orders named the same answer. */
  consistency = Number.NaN;

  constructor(
    readonly model: CausalLM | PeftModel<CausalLM>,
    private readonly options: ModelJudgeOptions,
  ) {
    if (!options?.tokenizer) throw new OptionError('ModelPairwiseJudge needs the tokenizer of its model: { tokenizer }.');
  }

  /** For each prompt the index of the better of its two completions; -1 where both orders contradict each other. */
  async judge(prompts: readonly Asked[], completions: readonly (readonly [string, string])[]): Promise<Rank[]> {
    check(prompts, completions);
    const { tokenizer, strict = true } = this.options;
    const requests = prompts.flatMap((prompt, i) => {
      const [first, second] = completions[i];
      return [this.question(prompt, first, second), this.question(prompt, second, first)].flatMap((question) =>
        ['A', 'B'].map((letter) => (typeof question === 'string' ? ([question, ` ${letter}`] as const) : ([question, letter] as const))),
      );
    });
    const logs = (await loglikelihood(this.model, requests, { tokenizer })).map(({ logprob }) => logprob);
    let same = 0;
    const ranks = prompts.map((_, i): Rank => {
      const [ab, ba] = [logs[4 * i] - logs[4 * i + 1], logs[4 * i + 3] - logs[4 * i + 2]];
      const agree = ab > 0 === ba > 0;
      if (agree) same++;
      if (!agree && strict) return -1;
      return ab + ba > 0 ? 0 : 1;
    });
    this.consistency = same / Math.max(1, prompts.length);
    return ranks;
  }

  private question(prompt: Asked, a: string, b: string): string | Message[] {
    const { tokenizer, criterion = 'Which answer is correct, helpful and says no more than was asked for?' } = this.options;
    const content =
      `Compare two answers to a question.\n\nQuestion:\n${askedText(prompt)}\n\nAnswer A:\n${a}\n\nAnswer B:\n${b}\n\n` +
      `${criterion} Say A or B.`;
    return tokenizer.chat_template ? [{ role: 'user', content }] : `${content}\nThe better answer is`;
  }
}

type Ask = (question: string) => Promise<string>;

/** A notebook's `input()`, or the terminal's line. */
async function askReader(question: string): Promise<string> {
  const { input } = globalThis as { input?: Ask };
  if (input) return input(question);
  const line = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return await line.question(question);
  } finally {
    line.close();
  }
}

/**
 * The reader as judge: each pair is shown under A and B without a word of which is whose, and `a`, `b` or `=` is asked for. `q` ends the
 * judging: what was not judged is -1.
 */
export class ReaderPairwiseJudge implements PairwiseJudge {
  private readonly ask: Ask;
  private readonly seed: number;

  constructor({ ask = askReader, seed = 42 }: { ask?: Ask; seed?: number } = {}) {
    [this.ask, this.seed] = [ask, seed];
  }

  /** Shows each pair and asks. For each prompt the index of the better of its two completions; -1 for neither, and for what was not judged. */
  async judge(prompts: readonly Asked[], completions: readonly (readonly [string, string])[], shuffle_order = true): Promise<Rank[]> {
    check(prompts, completions);
    const random = Random.seeded(this.seed);
    const ranks: Rank[] = prompts.map(() => -1);
    for (const [i, prompt] of prompts.entries()) {
      const turned = shuffle_order && random.below(2) === 1;
      const [a, b] = turned ? [...completions[i]].reverse() : completions[i];
      const head = `${i + 1} of ${prompts.length}`;
      const text = `${askedText(prompt)}\n\nA: ${a}\n\nB: ${b}`;
      const cell = (of: string) => `<td style="text-align:left;vertical-align:top;white-space:pre-wrap">${escapeHtml(of)}</td>`;
      const html = `${preHtml(head, askedText(prompt))}<table><thead><tr><th>A</th><th>B</th></tr></thead><tbody><tr>${cell(a)}${cell(b)}</tr></tbody></table>`;
      emit('show', { html, text: `${head}: ${text}` });
      const said = await this.answer(head);
      if (said === 'q') break;
      if (said !== '=') ranks[i] = (said === 'a') === turned ? 1 : 0;
    }
    return ranks;
  }

  private async answer(head: string): Promise<'a' | 'b' | '=' | 'q'> {
    for (let question = `${head}: which is better, a or b? (= for neither, q to end) `; ; question = 'Please a, b, = or q: ') {
      const said = (await this.ask(question)).trim().toLowerCase();
      if (said === 'a' || said === 'b' || said === '=' || said === 'q') return said;
    }
  }
}
