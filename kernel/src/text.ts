/** How many of the bytes are whole characters of UTF-8: all, or all but the first ones of a character that is not whole yet. */
function whole(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) break;
    const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 0;
    if (size) return size > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

const NOTHING = Buffer.alloc(0);

/** The text of one stream of bytes, however it is cut. What is no character is shown as U+FFFD by the cell that began it. */
export class Text {
  private begun: Buffer = NOTHING;
  private cell?: number;
  private chunks = 0;

  constructor(private readonly say: (text: string, cell?: number) => void) {}

  /** What changes with each chunk; undefined where no character waits for its other bytes. */
  get waiting(): number | undefined {
    return this.begun.length ? this.chunks : undefined;
  }

  /** Characters that are whole. */
  write(text: string, cell?: number): void {
    if (!text) return;
    this.end();
    this.say(text.toWellFormed(), cell);
  }

  push(chunk: Buffer, cell?: number): void {
    if (!chunk.length) return;
    if ((chunk[0] & 0xc0) !== 0x80) this.end(); // a new character begins
    const bytes = this.begun.length ? Buffer.concat([this.begun, chunk]) : chunk;
    const end = whole(bytes);
    this.begun = Buffer.from(bytes.subarray(end));
    this.cell = cell;
    this.chunks++;
    if (end) this.say(bytes.toString('utf8', 0, end), cell);
  }

  /** Nothing more belongs to the character that was begun. */
  end(): void {
    const { begun, cell } = this;
    this.begun = NOTHING;
    if (begun.length) this.say(begun.toString(), cell);
  }
}
