import type { Tokenizer } from '../tokenizers/tokenizer';

/** Writes text as it is generated, as soon as whole characters and words are there. */
export class TextStreamer {
  private tokens: number[] = [];
  private shown = 0;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly write: (text: string) => void = (text) => process.stdout.write(text),
  ) {}

  put(token: number): void {
    this.tokens.push(token);
    const text = this.text();
    // A token may end within a character, which decodes to a replacement sign until its rest arrives.
    if (text.endsWith('\ufffd')) return;
    const end = text.lastIndexOf(' ') + 1;
    if (end > this.shown) this.flush(text, end);
  }

  end(): void {
    const text = this.text();
    this.flush(text, text.length);
    this.write('\n');
    this.tokens = [];
    this.shown = 0;
  }

  private text(): string {
    return this.tokenizer.decode(this.tokens, { skip_special_tokens: true });
  }

  private flush(text: string, end: number): void {
    if (end > this.shown) this.write(text.slice(this.shown, end));
    this.shown = Math.max(this.shown, end);
  }
}
