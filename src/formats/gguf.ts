import { open } from 'node:fs/promises';
import { FileError } from '../core/errors';

/** One tensor of a GGUF file. GGUF names dimensions innermost first; `shape` here is outermost first. */
export interface GgufTensor {
  name: string;
  shape: number[];
  type: string;
  /** From the beginning of the file, in bytes. */
  offset: number;
  bytes: number;
}

export type GgufValue = number | bigint | boolean | string | GgufValue[];

export interface Gguf {
  path: string;
  metadata: Map<string, GgufValue>;
  tensors: Map<string, GgufTensor>;
}

/** Type number: name, values in a block, bytes of a block. Others can be listed but not loaded. */
const TYPES: Record<number, [string, number, number]> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  30: ['BF16', 1, 2],
};

const LIMIT = 1 << 28; // the longest header, string or array that is believed

class Reader {
  private at = 0;
  private readonly view: DataView;
  constructor(
    private readonly bytes: Uint8Array,
    private readonly path: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get position(): number {
    return this.at;
  }
  private take(n: number): number {
    if (this.at + n > this.bytes.length) throw new NeedMore();
    this.at += n;
    return this.at - n;
  }
  u32 = () => this.view.getUint32(this.take(4), true);
  u64(): number {
    const value = this.view.getBigUint64(this.take(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FileError(`${this.path}: damaged GGUF header (a count of ${value}).`);
    return Number(value);
  }
  count(what: string): number {
    const n = this.u64();
    if (n > LIMIT) throw new FileError(`${this.path}: damaged GGUF header (${what} of ${n}).`);
    return n;
  }
  string(): string {
    const length = this.count('a string length');
    const from = this.take(length);
    // A text may be a byte order mark: vocabularies have it as a token.
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.bytes.subarray(from, from + length));
  }
  value(type: number): GgufValue {
    switch (type) {
      case 0:
        return this.view.getUint8(this.take(1));
      case 1:
        return this.view.getInt8(this.take(1));
      case 2:
        return this.view.getUint16(this.take(2), true);
      case 3:
        return this.view.getInt16(this.take(2), true);
      case 4:
        return this.u32();
      case 5:
        return this.view.getInt32(this.take(4), true);
      case 6:
        return this.view.getFloat32(this.take(4), true);
      case 7:
        return this.view.getUint8(this.take(1)) !== 0;
      case 8:
        return this.string();
      case 9: {
        const element = this.u32();
        if (element === 9) throw new FileError(`${this.path}: nested arrays are not part of GGUF.`);
        const length = this.count('an array length');
        const values: GgufValue[] = [];
        for (let i = 0; i < length; i++) values.push(this.value(element));
        return values;
      }
      case 10:
        return this.view.getBigUint64(this.take(8), true);
      case 11:
        return this.view.getBigInt64(this.take(8), true);
      case 12:
        return this.view.getFloat64(this.take(8), true);
      default:
        throw new FileError(`${this.path}: damaged GGUF header (a value of type ${type}).`);
    }
  }
}

class NeedMore extends Error {}

function parse(bytes: Uint8Array, path: string, fileSize: number): Gguf {
  const reader = new Reader(bytes, path);
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== 'GGUF')
    throw new FileError(
      `${path} is not a GGUF file: it begins with ${JSON.stringify(new TextDecoder('latin1').decode(bytes.subarray(0, 4)))} instead of "GGUF".`,
    );
  reader.u32();
  const version = reader.u32();
  if (version !== 2 && version !== 3) throw new FileError(`${path}: GGUF version ${version} is not supported (2 and 3 are).`);
  const tensorCount = reader.count('a number of tensors');
  const metadataCount = reader.count('a number of metadata entries');
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < metadataCount; i++) {
    const key = reader.string();
    if (metadata.has(key)) throw new FileError(`${path}: damaged GGUF header (two values of ${key}).`);
    metadata.set(key, reader.value(reader.u32()));
  }
  const tensors = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.string();
    const rank = reader.u32();
    if (rank > 8) throw new FileError(`${path}: damaged GGUF header (tensor ${name} of rank ${rank}).`);
    const shape = Array.from({ length: rank }, () => reader.u64()).reverse();
    const code = reader.u32();
    const [type, block, blockBytes] = TYPES[code] ?? [`type ${code}`, 1, 0];
    const count = shape.reduce((a, b) => a * b, 1);
    if (tensors.has(name)) throw new FileError(`${path}: damaged GGUF header (two tensors ${name}).`);
    tensors.set(name, { name, shape, type, offset: reader.u64(), bytes: (count / block) * blockBytes });
  }
  const alignment = Number(metadata.get('general.alignment') ?? 32);
  const start = Math.ceil(reader.position / alignment) * alignment;
  for (const tensor of tensors.values()) {
    tensor.offset += start;
    if (tensor.offset + tensor.bytes > fileSize)
      throw new FileError(
        `${path} is truncated: tensor ${tensor.name} ends at byte ${tensor.offset + tensor.bytes}, but the file has ${fileSize}. Download it again.`,
      );
  }
  return { path, metadata, tensors };
}

/** Reads a GGUF file's header (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md); tensors stay in the file. */
export async function readGguf(path: string): Promise<Gguf> {
  const file = await open(path, 'r').catch((error: Error) => {
    throw new FileError(`${path} cannot be opened: ${error.message}.`);
  });
  try {
    const { size } = await file.stat();
    if (size < 24) throw new FileError(`${path} is not a GGUF file: it has only ${size} bytes.`);
    for (let length = Math.min(size, 4 << 20); ; length = Math.min(size, length * 4)) {
      const bytes = new Uint8Array(length);
      await file.read(bytes, 0, length, 0);
      try {
        return parse(bytes, path, size);
      } catch (error) {
        if (!(error instanceof NeedMore)) throw error;
        if (length === size)
          throw new FileError(`${path} is truncated: its header does not end within its ${size} bytes. Download it again.`);
      }
    }
  } finally {
    await file.close();
  }
}
