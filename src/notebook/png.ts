import { deflateSync } from 'node:zlib';

/** Node's own crc32 is younger than the oldest Node that we run on. */
function crc32(data: Uint8Array): number {
  let crc = -1;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(body.length + 8);
  frame.writeUInt32BE(data.length);
  body.copy(frame, 4);
  frame.writeUInt32BE(crc32(body), body.length + 4);
  return frame;
}

/**
 * Opaque pixels (RGBA, row by row) as a PNG of at most 256 colours (https://www.w3.org/TR/png-3): a plot has few, and a third of
 * the bytes in a notebook's file is worth more than the finest shades of its edges.
 */
export function palettePng(pixels: Uint8Array, width: number, height: number): Buffer {
  for (let bits = 5; ; bits--) {
    const drop = 8 - bits;
    const top = (1 << bits) - 1;
    const palette = new Map<number, number>();
    // Each row begins with a byte that says how it is filtered: not at all.
    const rows = new Uint8Array(height * (width + 1));
    for (let i = 0, at = 0; i < width * height && palette.size <= 256; i++) {
      if (i % width === 0) at++;
      const p = 4 * i;
      const colour = ((pixels[p] >> drop) << 16) | ((pixels[p + 1] >> drop) << 8) | (pixels[p + 2] >> drop);
      let index = palette.get(colour);
      if (index === undefined) {
        index = palette.size;
        palette.set(colour, index);
      }
      rows[at++] = index;
    }
    if (palette.size > 256) continue;
    const shade = (value: number) => Math.round((255 * value) / top);
    const colours = [...palette.keys()].flatMap((c) => [shade(c >> 16), shade((c >> 8) & 255), shade(c & 255)]);
    const head = Buffer.alloc(13);
    head.writeUInt32BE(width);
    head.writeUInt32BE(height, 4);
    head.set([8, 3, 0, 0, 0], 8); // 8 bits, indexed
    return Buffer.concat([
      Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
      chunk('IHDR', head),
      chunk('PLTE', Uint8Array.from(colours)),
      chunk('IDAT', deflateSync(rows, { level: 9 })),
      chunk('IEND', new Uint8Array()),
    ]);
  }
}
