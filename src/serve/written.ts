import type { Tokenizer } from '../tokenizers/tokenizer';
import { begun } from './tool_calls';

/** Tokens of the prompt that the text behind them may depend on: a space between words, say. */
const BEFORE = 5;

/** The text of an answer while its tokens come: what no later token changes, and nothing from a stop string on. */
export class Written {
  /** Tokens whose text is out, to decode the next behind, and then those whose text is not. */
  private ids: number[];
  private out: number;
  /** Text that may be the beginning of a stop string. */
  private held = '';
  /** The stop string that was met. */
  stop?: string;

  /** `special`: whether special tokens are written too. */
  constructor(
    private readonly tokenizer: Tokenizer,
    prompt: readonly number[],
    private readonly stops: readonly string[],
    private readonly special = false,
  ) {
    this.ids = prompt.slice(-BEFORE).filter((id) => this.isText(id));
    this.out = this.ids.length;
  }

  private isText(id: number): boolean {
    return this.special || !this.tokenizer.isSpecial(id);
  }

  /** Takes the next token; returns the text that is certain by it. */
  put(id: number): string {
    if (!this.isText(id)) return '';
    this.ids.push(id);
    const before = this.tokenizer.decode(this.ids.slice(0, this.out));
    const all = this.tokenizer.decode(this.ids);
    // A token may end within a character, which decodes to a replacement sign until its rest arrives.
    if (all.length <= before.length || all.endsWith('\ufffd')) return '';
    this.ids = this.ids.slice(this.out);
    this.out = this.ids.length;
    return this.passed(all.slice(before.length));
  }

  /** What is left when no more tokens come. */
  end(): string {
    if (this.stop !== undefined) return '';
    const before = this.tokenizer.decode(this.ids.slice(0, this.out));
    const rest = this.passed(this.tokenizer.decode(this.ids).slice(before.length));
    const text = this.stop === undefined ? rest + this.held : rest;
    this.held = '';
    return text;
  }

  private passed(text: string): string {
    if (!this.stops.length) return text;
    const all = this.held + text;
    let at = -1;
    for (const stop of this.stops) {
      const found = all.indexOf(stop);
      if (found >= 0 && (at < 0 || found < at)) [at, this.stop] = [found, stop];
    }
    if (at >= 0) {
      this.held = '';
      return all.slice(0, at);
    }
    const keep = Math.max(...this.stops.map((stop) => begun(all, stop)));
    this.held = all.slice(all.length - keep);
    return all.slice(0, all.length - keep);
  }
}
