import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError } from '../core/errors';
import { show } from '../core/options';
import { ARRAY, type GgufValue, LEAST_BYTES, METADATA, STRING, TENSOR_TYPES } from './gguf_types';
import { refusePickle } from './pickle';

export type { GgufValue } from './gguf_types';

/** One tensor of a GGUF file. GGUF names dimensions innermost first; `shape` here is outermost first. */
export interface GgufTensor {
  name: string;
  shape: number[];
  type: string;
  /** The file it is in: of a model in several the part. */
  path: string;
  /** From the beginning of the file, in bytes. */
  offset: number;
  bytes: number;
}

export interface Gguf {
  path: string;
  metadata: Map<string, GgufValue>;
  tensors: Map<string, GgufTensor>;
}

const LIMIT = 1 << 28; // the longest header, string or array that is believed
const FLAGS = 1 << 16; // the same of a list of flags, which takes eight times its room here

// A text may be a byte order mark: vocabularies have it as a token.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

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
  damaged(what: string): never {
    throw new FileError(`${this.path}: damaged GGUF header (${what}).`);
  }
  private take(n: number): number {
    if (this.at + n > this.bytes.length) throw new NeedMore();
    this.at += n;
    return this.at - n;
  }
  u32 = () => this.view.getUint32(this.take(4), true);
  u64(): number {
    const value = this.view.getBigUint64(this.take(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.damaged(`a count of ${value}`);
    return Number(value);
  }
  count(what: string): number {
    const n = this.u64();
    if (n > LIMIT) this.damaged(`${what} of ${n}`);
    return n;
  }
  string(): string {
    const length = this.count('a string length');
    const from = this.take(length);
    return decoder.decode(this.bytes.subarray(from, from + length));
  }
  private array(): GgufValue {
    const element = this.u32();
    if (element === ARRAY) throw new FileError(`${this.path}: nested arrays are not part of GGUF.`);
    if (!(element in LEAST_BYTES)) this.damaged(`a list of type ${element}`);
    const length = this.count('an array length');
    if (this.at + length * LEAST_BYTES[element] > this.bytes.length) throw new NeedMore();
    if (element === METADATA.bool && length > FLAGS) this.damaged(`a list of ${length} flags`);
    if (element === METADATA.uint8 || element === METADATA.int8) {
      const from = this.take(length);
      const bytes = this.bytes.slice(from, from + length);
      return element === METADATA.int8 ? new Int8Array(bytes.buffer) : bytes;
    }
    const values = new Array<GgufValue>(length);
    for (let i = 0; i < length; i++) values[i] = this.value(element);
    return values;
  }
  value(type: number): GgufValue {
    switch (type) {
      case METADATA.uint8:
        return this.view.getUint8(this.take(1));
      case METADATA.int8:
        return this.view.getInt8(this.take(1));
      case METADATA.uint16:
        return this.view.getUint16(this.take(2), true);
      case METADATA.int16:
        return this.view.getInt16(this.take(2), true);
      case METADATA.uint32:
        return this.u32();
      case METADATA.int32:
        return this.view.getInt32(this.take(4), true);
      case METADATA.float32:
        return this.view.getFloat32(this.take(4), true);
      case METADATA.bool:
        return this.view.getUint8(this.take(1)) !== 0;
      case STRING:
        return this.string();
      case ARRAY:
        return this.array();
      case METADATA.uint64:
        return this.view.getBigUint64(this.take(8), true);
      case METADATA.int64:
        return this.view.getBigInt64(this.take(8), true);
      case METADATA.float64:
        return this.view.getFloat64(this.take(8), true);
      default:
        return this.damaged(`a value of type ${type}`);
    }
  }
}

class NeedMore extends Error {}

function readTensor(reader: Reader, path: string): GgufTensor {
  const name = reader.string();
  const rank = reader.u32();
  if (rank > 4) reader.damaged(`tensor ${show(name)} of rank ${rank}`);
  const shape = Array.from({ length: rank }, () => reader.u64()).reverse();
  const code = reader.u32();
  const [type, block, blockBytes] = TENSOR_TYPES[code] ?? [`type ${code}`, 1, 0];
  const bytes = (shape.reduce((a, b) => a * b, 1) / block) * blockBytes;
  if ((shape.at(-1) ?? 1) % block || !Number.isSafeInteger(bytes))
    reader.damaged(`tensor ${show(name)} of [${shape}], which ${type} cannot hold`);
  return { name, shape, type, path, offset: reader.u64(), bytes };
}

/** Every tensor at its place, inside the file, none over another. */
function checkPlaces(tensors: Iterable<GgufTensor>, path: string, alignment: number, start: number, size: number): void {
  let [end, before] = [start, ''];
  for (const { name, offset, bytes } of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if ((offset - start) % alignment) throw new FileError(`${path}: damaged GGUF header (tensor ${name} is not aligned to ${alignment}).`);
    if (offset + bytes > size)
      throw new FileError(
        `${path} is truncated: tensor ${name} ends at byte ${offset + bytes}, but the file has ${size}. Download it again.`,
      );
    if (offset < end) throw new FileError(`${path}: damaged GGUF header (tensors ${before} and ${name} overlap).`);
    [end, before] = [offset + bytes, name];
  }
}

function parse(bytes: Uint8Array, path: string, fileSize: number): Gguf {
  const reader = new Reader(bytes, path);
  refusePickle(path, bytes);
  const latin1 = new TextDecoder('latin1').decode(bytes.subarray(0, 4));
  if (latin1 !== 'GGUF') throw new FileError(`${path} is not a GGUF file: it begins with ${JSON.stringify(latin1)} instead of "GGUF".`);
  reader.u32();
  const version = reader.u32();
  if (version === 0x2000000 || version === 0x3000000)
    throw new FileError(
      `${path} was written by a big-endian machine, and tunebook reads little-endian files. Convert it: gguf_convert_endian.py.`,
    );
  if (version !== 2 && version !== 3) throw new FileError(`${path}: GGUF version ${version} is not supported (2 and 3 are).`);
  const tensorCount = reader.count('a number of tensors');
  const metadataCount = reader.count('a number of metadata entries');
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < metadataCount; i++) {
    const key = reader.string();
    if (metadata.has(key)) reader.damaged(`two values of ${key}`);
    metadata.set(key, reader.value(reader.u32()));
  }
  const tensors = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensor(reader, path);
    if (tensors.has(tensor.name)) reader.damaged(`two tensors ${tensor.name}`);
    tensors.set(tensor.name, tensor);
  }
  const alignment = Number(metadata.get('general.alignment') ?? 32);
  if (!(alignment > 0 && alignment <= 1 << 20 && Number.isInteger(Math.log2(alignment)))) reader.damaged(`an alignment of ${alignment}`);
  const start = Math.ceil(reader.position / alignment) * alignment;
  for (const tensor of tensors.values()) tensor.offset += start;
  checkPlaces(tensors.values(), path, alignment, start, fileSize);
  return { path, metadata, tensors };
}

/** The header of one file; the rest of it is not read. */
async function readPart(path: string): Promise<Gguf> {
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

/** The names of a model's parts, where `path` is one of several; llama.cpp numbers them from 1. */
export function partsOf(path: string, count: number): string[] {
  const [, stem, , of] = basename(path).match(/^(.*)-(\d{5})-of-(\d{5})\.gguf$/) ?? [];
  if (Number(of) !== count)
    throw new FileError(
      `${path} is one of ${count} parts of a model, and the others are found by its name: call it NAME-00001-of-${String(count).padStart(5, '0')}.gguf again.`,
    );
  return Array.from({ length: count }, (_, i) => join(dirname(path), `${stem}-${String(i + 1).padStart(5, '0')}-of-${of}.gguf`));
}

/**
 * Reads the header of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), or of all parts of a model where it is one of
 * several; tensors stay in the files.
 */
export async function readGguf(path: string): Promise<Gguf> {
  const one = await readPart(path);
  const count = Number(one.metadata.get('split.count') ?? 1);
  if (!(count > 1)) return one;
  const parts: Gguf[] = [];
  for (const part of partsOf(path, count)) parts.push(part === path ? one : await readPart(part));
  const tensors = new Map<string, GgufTensor>();
  for (const [i, part] of parts.entries()) {
    if (Number(part.metadata.get('split.no')) !== i || Number(part.metadata.get('split.count')) !== count)
      throw new FileError(
        `${part.path} is not part ${i + 1} of ${count} of its model: it was renamed, or is of another one. Get it again.`,
      );
    for (const tensor of part.tensors.values()) {
      const other = tensors.get(tensor.name);
      if (other) throw new FileError(`${part.path} and ${other.path} both have the tensor ${tensor.name}: they are parts of two models.`);
      tensors.set(tensor.name, tensor);
    }
  }
  const wanted = Number(parts[0].metadata.get('split.tensors.count') ?? tensors.size);
  if (wanted !== tensors.size)
    throw new FileError(`The parts of ${parts[0].path} have ${tensors.size} tensors, but ${wanted} were split. Get them again.`);
  return { path: parts[0].path, metadata: parts[0].metadata, tensors };
}
