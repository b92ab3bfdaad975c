import { OptionError } from '../core/errors';
import type { Tokenizer } from '../tokenizers/tokenizer';

/** Texts that end an answer as soon as its last token completes one (transformers' StopStringCriteria). */
export class StopStrings {
  /** So many last tokens can have to do with one: each has a byte at least. */
  private readonly reach: number;

  constructor(
    private readonly strings: readonly string[],
    private readonly tokenizer: Tokenizer,
  ) {
    this.reach = 1 + Math.max(...strings.map((text) => Buffer.byteLength(text)));
  }

  /** Of `stop_strings`; undefined where there are none. */
  static of(strings: string | string[] | null, tokenizer: Tokenizer | null): StopStrings | undefined {
    const all = [strings ?? []].flat();
    if (!all.length) return undefined;
    if (!tokenizer)
      throw new OptionError(
        'generate: stop_strings needs the tokenizer, to know what tokens say: generate(ids, { stop_strings, tokenizer }).',
      );
    return new StopStrings(all, tokenizer);
  }

  /** Whether the last token completes one. */
  met(tokens: readonly number[]): boolean {
    const last = tokens.slice(-this.reach);
    const [before, text] = [last.slice(0, -1), last].map((ids) => this.tokenizer.decode(ids));
    let same = 0;
    while (same < before.length && before[same] === text[same]) same++;
    return this.strings.some((string) => text.lastIndexOf(string) + string.length > Math.max(same, string.length - 1));
  }
}
