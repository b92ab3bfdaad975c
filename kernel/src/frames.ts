/** What goes through the worker's own pipe to the front end: JSON with bytes behind it. */
export interface Frame {
  type: string;
  /** The cell it belongs to. */
  cell?: number;
  // biome-ignore lint/suspicious/noExplicitAny: each type has fields of its own, see worker.ts
  [name: string]: any;
  buffers?: Uint8Array[];
}

/** Length of all, length of the JSON, the JSON, the buffers. */
export function encode({ buffers = [], ...frame }: Frame): Buffer {
  const json = Buffer.from(JSON.stringify({ ...frame, sizes: buffers.map((b) => b.byteLength) }));
  const head = Buffer.alloc(8);
  const size = json.length + buffers.reduce((sum, b) => sum + b.byteLength, 0);
  head.writeUInt32LE(size, 0);
  head.writeUInt32LE(json.length, 4);
  return Buffer.concat([head, json, ...buffers]);
}

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
      if (this.held < size) return;
      const all = this.parts.length > 1 ? Buffer.concat(this.parts) : this.parts[0];
      const end = 8 + all.readUInt32LE(4);
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
