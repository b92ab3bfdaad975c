import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** CRC-32C (Castagnoli), the checksum of TensorFlow's record files. */
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const masked = (bytes: Uint8Array) => {
  const crc = crc32c(bytes);
  return ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) >>> 0;
};

function varint(n: number): Buffer {
  const bytes: number[] = [];
  for (let rest = n; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}
const field = (number: number, type: number, content: Buffer) => Buffer.concat([varint(number * 8 + type), content]);
const block = (number: number, content: Buffer) => field(number, 2, Buffer.concat([varint(content.length), content]));
const double = (value: number) => Buffer.from(Float64Array.of(value).buffer);
const float = (value: number) => Buffer.from(Float32Array.of(value).buffer);

/** One record: length, its checksum, data, its checksum. */
function recordOf(data: Buffer): Buffer {
  const length = Buffer.alloc(12);
  length.writeBigUInt64LE(BigInt(data.length));
  length.writeUInt32LE(masked(length.subarray(0, 8)), 8);
  const end = Buffer.alloc(4);
  end.writeUInt32LE(masked(data));
  return Buffer.concat([length, data, end]);
}

/** Writes scalars as TensorBoard reads them (tensorflow.Event protocol buffers in a record file), each as soon as it is there. */
export class EventFile {
  readonly path: string;
  private readonly file: number;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    const unique = `${Math.floor(Date.now() / 1000)}.${hostname()}.${process.pid}.${randomBytes(2).toString('hex')}`;
    this.path = join(folder, `events.out.tfevents.${unique}`);
    this.file = openSync(this.path, 'a');
    this.write(block(3, Buffer.from('brain.Event:2')));
  }

  close(): void {
    closeSync(this.file);
  }

  /** A text, as torch's SummaryWriter writes one: a tensor of one string that the text plugin shows. */
  text(step: number, tag: string, text: string): void {
    const metadata = block(1, block(1, Buffer.from('text')));
    const tensor = Buffer.concat([field(1, 0, varint(7)), block(2, block(2, field(1, 0, varint(1)))), block(8, Buffer.from(text))]);
    const value = Buffer.concat([block(1, Buffer.from(`${tag}/text_summary`)), block(8, tensor), block(9, metadata)]);
    this.write(Buffer.concat([field(2, 0, varint(step)), block(5, block(1, value))]));
  }

  /** How values are spread, as bars between their least and largest. */
  histogram(step: number, tag: string, values: ArrayLike<number>, bars = 30): void {
    let [low, high, sum, squares] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (value < low) low = value;
      if (value > high) high = value;
      sum += value;
      squares += value * value;
    }
    if (!(high >= low)) return; // none, or none that is a number
    const width = (high - low) / bars || 1;
    const counts = new Float64Array(bars);
    for (let i = 0; i < values.length; i++) counts[Math.min(bars - 1, Math.floor((values[i] - low) / width))]++;
    const limits = Float64Array.from({ length: bars }, (_, i) => (i === bars - 1 && high > low ? high : low + width * (i + 1)));
    const numbers = [low, high, values.length, sum, squares].map((value, i) => field(i + 1, 1, double(value)));
    const lists = [limits, counts].map((list, i) => block(6 + i, Buffer.from(list.buffer)));
    const value = Buffer.concat([block(1, Buffer.from(tag)), block(5, Buffer.concat([...numbers, ...lists]))]);
    this.write(Buffer.concat([field(2, 0, varint(step)), block(5, block(1, value))]));
  }

  scalars(step: number, values: Record<string, number>): void {
    const summary = Object.entries(values).map(([tag, value]) =>
      block(1, Buffer.concat([block(1, Buffer.from(tag)), field(2, 5, float(value))])),
    );
    this.write(Buffer.concat([field(2, 0, varint(step)), block(5, Buffer.concat(summary))]));
  }

  private write(event: Buffer): void {
    writeSync(this.file, recordOf(Buffer.concat([field(1, 1, double(Date.now() / 1000)), event])));
  }
}
