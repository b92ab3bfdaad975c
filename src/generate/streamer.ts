import type { Tokenizer } from '../tokenizers/tokenizer';

/** Scripts written without spaces: each of their characters may be shown at once. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\u3000-\u303f\uff00-\uff65]/u;
/** A byte of a SentencePiece tokenizer; what a run of them means is known only when another token follows. */
const BYTE = /^<0x[0-9A-F]{2}>$/;

/**
 * Writes text as it is generated, as soon as it is certain, by the rules of transformers' TextStreamer: whole words, whole lines,
 * and each character of a script without spaces. What was written joins to the decoded whole, with a line end behind it.
 */
export class TextStreamer {
  /** What is not yet all written, behind the last token that is: the tokens, and where the text of each ends. */
  private tokens: { id: number; end: number; byte: boolean }[] = [];
  private shown = 0;

  constructor(
    private readonly tokenizer: Tokenizer,
    protected readonly write: (text: string) => void = (text) => process.stdout.write(text),
  ) {}

  /** Takes the next token, and writes what is certain by now. */
  put(id: number): void {
    if (this.tokenizer.isSpecial(id)) return;
    const token = { id, end: 0, byte: BYTE.test(this.tokenizer.convert_ids_to_tokens(id) ?? '') };
    this.tokens.push(token);
    const text = this.text();
    token.end = text.length;
    const end = this.certain(text);
    if (end <= this.shown) return;
    this.write(text.slice(this.shown, end));
    this.shown = end;
    this.forget(text);
  }

  /** Writes the rest, and a line end; the streamer is ready for another text. */
  end(): void {
    this.write(`${this.rest()}\n`);
  }

  /** What is not yet written; the streamer is ready for another text. */
  protected rest(): string {
    const rest = this.text().slice(this.shown);
    this.tokens = [];
    this.shown = 0;
    return rest;
  }

  private text(): string {
    return this.tokenizer.decode(this.tokens.map(({ id }) => id));
  }

  /** Where the text ends that no later token can change: behind a space, a line end or a character that stands for itself. */
  private certain(text: string): number {
    const known = this.tokens.findLastIndex(({ byte }) => !byte);
    let end = known < 0 ? 0 : known === this.tokens.length - 1 ? text.length : this.tokens[known].end;
    // A token may end within a character, which decodes to replacement signs until its rest arrives.
    while (text[end - 1] === '\ufffd') end--;
    for (; end > this.shown; end--) {
      const last = /[\ud800-\udbff][\udc00-\udfff]$|.$/s.exec(text.slice(Math.max(0, end - 2), end))?.[0] ?? '';
      if (/\s/.test(last) || UNSPACED.test(last)) break;
    }
    return end;
  }

  /** Drops the tokens that are written, but for the last: what follows is decoded behind it, as in the whole. */
  private forget(text: string): void {
    const keep = this.tokens.findLastIndex(({ end, byte }, i) => !byte && end <= this.shown && end > (this.tokens[i - 1]?.end ?? 0));
    if (keep <= 0) return;
    this.tokens.splice(0, keep);
    const shift = text.length - this.text().length;
    for (const token of this.tokens) token.end -= shift;
    this.shown -= shift;
  }
}

/** The same as text to go through: `for await (const text of streamer)` beside a generation that it was given to (transformers' AsyncTextIteratorStreamer). */
export class AsyncTextIteratorStreamer extends TextStreamer implements AsyncIterable<string> {
  private readonly ready: string[] = [];
  private over = false;
  private wake = () => {};

  constructor(tokenizer: Tokenizer) {
    super(tokenizer, (text) => {
      this.ready.push(text);
      this.wake();
    });
  }

  /** Gives the rest, and ends the iteration. */
  override end(): void {
    const rest = this.rest();
    this.over = true;
    if (rest) this.write(rest);
    else this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, void> {
    while (!this.over || this.ready.length) {
      while (this.ready.length) yield this.ready.shift() as string;
      if (this.over) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
