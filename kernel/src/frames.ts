import { allocUnsafe, bytesOf, copyTo } from './sturdy';

/** What goes through the pipes between front end and worker: JSON with bytes behind it. */
export interface Frame {
  type: string;
  /** The cell it belongs to. */
  cell?: number;
  // biome-ignore lint/suspicious/noExplicitAny: each type has fields of its own, see worker.ts
  [name: string]: any;
  buffers?: Uint8Array[];
}

/** Bytes that one frame may hold: what is longer could not be read as one string at the other end. */
const LARGEST = 1 << 28;

/** Length of all, length of the JSON, the JSON, the buffers. `fields`: the JSON's inside. */
export function pack(fields: string, buffers: Uint8Array[] = []): Buffer {
  let sizes = '';
  let size = 0;
  for (let i = 0; i < buffers.length; i++) {
    sizes += `${i ? ',' : ''}${buffers[i].byteLength}`;
    size += buffers[i].byteLength;
  }
  const json = bytesOf(`{${fields},"sizes":[${sizes}]}`);
  if (json.length > LARGEST || size > LARGEST * 8)
    throw new RangeError(`a message of ${((json.length + size) / 2 ** 20).toFixed(0)} MiB is too large for a notebook`);
  const bytes = allocUnsafe(8 + json.length + size);
  const heads = [json.length + size, json.length];
  for (let i = 0; i < 8; i++) bytes[i] = heads[i >> 2] / 2 ** (8 * (i & 3));
  copyTo(bytes, json, 8);
  let at = 8 + json.length;
  for (let i = 0; i < buffers.length; i++) {
    copyTo(bytes, buffers[i], at);
    at += buffers[i].byteLength;
  }
  return bytes;
}

export const encode = ({ buffers, ...frame }: Frame): Buffer => pack(JSON.stringify(frame).slice(1, -1), buffers);

/** Frames out of a stream of bytes, however it is cut. */
export class Decoder {
  private parts: Buffer[] = [];
  private held = 0;

  *push(chunk: Buffer): Generator<Frame> {
    this.parts.push(chunk);
    this.held += chunk.length;
    while (this.held >= 8) {
      if (this.parts[0].length < 8) this.parts = [Buffer.concat(this.parts)];
      const size = 8 + this.parts[0].readUInt32LE(0);
      const json = this.parts[0].readUInt32LE(4);
      if (json > LARGEST || 8 + json > size) throw new RangeError('not a frame');
      if (this.held < size) return;
      const all = this.parts.length > 1 ? Buffer.concat(this.parts) : this.parts[0];
      const end = 8 + json;
      const { sizes, ...frame } = JSON.parse(all.toString('utf8', 8, end)) as Frame & { sizes: number[] };
      let at = end;
      const buffers = sizes.map((n) => {
        at += n;
        return all.subarray(at - n, at);
      });
      this.parts = all.length > size ? [all.subarray(size)] : [];
      this.held = all.length - size;
      yield buffers.length ? { ...frame, buffers } : frame;
    }
  }
}
