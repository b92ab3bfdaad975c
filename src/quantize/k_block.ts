import type { WeightFormat } from '../engine/weights';
import { fitWithMin, nearestWhole, type Search } from './k_fits';

/** Values in one of GGUF's newer blocks. */
export const BLOCK = 256;

const f = Math.fround;

/** A block as codes and what stands for a group of them: value = scale * (code - offset) - min. */
export interface Unpacked {
  codes: Uint8Array;
  scales: Float32Array;
  mins: Float32Array;
}

/** What is one kind's own. */
export interface KBlock {
  name: string;
  /** GGUF's number. */
  code: number;
  bytes: number;
  /** Where its fp16 numbers stand. */
  halves: readonly number[];
  /** Values that share a scale. */
  group: number;
  /** Codes go from 0 to this. */
  most: number;
  offset: number;
  /** Reads the block at a byte; the codes are zeros before. */
  read(bytes: Uint8Array, at: number, to: Unpacked): void;
  /** Finds scales and minimums of a block's values and writes them; leaves them, rounded as they are stored, and first codes in `to`. */
  fit(x: Float32Array, bytes: Uint8Array, at: number, to: Unpacked): void;
  write(codes: Uint8Array, bytes: Uint8Array, at: number): void;
}

const unpacked = (group: number): Unpacked => ({
  codes: new Uint8Array(BLOCK),
  scales: new Float32Array(BLOCK / group),
  mins: new Float32Array(BLOCK / group),
});

/** Each value's code by the scales and minimums that are stored; where a scale is nothing, its first one stays. */
function findCodes(x: Float32Array, { codes, scales, mins }: Unpacked, { group, most, offset }: KBlock): void {
  for (let i = 0; i < BLOCK; i++) {
    const scale = scales[(i / group) | 0];
    if (scale) codes[i] = Math.max(0, Math.min(most, nearestWhole(f(f(x[i] + mins[(i / group) | 0]) / scale)) + offset));
  }
}

/** A kind of weight of such blocks. Their products are exact in fp32: values are those of llama.cpp to the bit. */
export const kFormat = (kind: KBlock): WeightFormat => ({
  name: kind.name,
  code: kind.code,
  block: BLOCK,
  blockBytes: kind.bytes,
  halves: kind.halves,
  decode(bytes, count) {
    const out = new Float32Array(count);
    const { group, offset } = kind;
    const block = unpacked(group);
    for (let b = 0, at = 0; b < count; b += BLOCK, at += kind.bytes) {
      block.codes.fill(0);
      kind.read(bytes, at, block);
      for (let i = 0; i < BLOCK; i++) {
        const g = (i / group) | 0;
        out[b + i] = block.scales[g] * (block.codes[i] - offset) - block.mins[g];
      }
    }
    return out;
  },
  encode(values) {
    const bytes = new Uint8Array((values.length / BLOCK) * kind.bytes);
    const block = unpacked(kind.group);
    for (let b = 0, at = 0; b < values.length; b += BLOCK, at += kind.bytes) {
      const x = values.subarray(b, b + BLOCK);
      kind.fit(x, bytes, at, block);
      findCodes(x, block, kind);
      kind.write(block.codes, bytes, at);
    }
    return bytes;
  },
});

/** Numbers from 0 on as codes up to `most`: what a code stands for, and the code of number i. */
export function codesOf(values: Float32Array, most: number): { unit: number; code(i: number): number } {
  const largest = values.reduce((max, value) => Math.max(max, value), 0);
  const inverse = largest > 0 ? f(most / largest) : 0;
  return { unit: f(largest / most), code: (i) => Math.min(most, nearestWhole(f(inverse * values[i])) & 255) };
}

/** Fits each group with a minimum; weights are by the size of values, added to the group's own where `even`. */
export function fitGroups(x: Float32Array, { codes, scales, mins }: Unpacked, group: number, search: Search, even: boolean): void {
  for (let g = 0; g < scales.length; g++) {
    const part = x.subarray(g * group, (g + 1) * group);
    const squares = even ? part.reduce((sum, value) => f(sum + f(value * value)), 0) : 0;
    const base = f(Math.sqrt(f(squares / group)));
    const weights = part.map((value) => base + Math.abs(value));
    const { scale, min } = fitWithMin(part, weights, codes.subarray(g * group, (g + 1) * group), search);
    [scales[g], mins[g]] = [scale, min];
  }
}
