import { nearest, OptionError } from '../core/errors';
import { show } from '../core/options';
import type { WeightFormat } from '../engine/weights';
import { bf16, f16, f32, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0 } from './kinds';

/** Where a matrix stands in a model, by its name in GGUF. */
interface Place {
  name: string;
  block: number;
  blocks: number;
}

/** How the matrices of a GGUF file are packed: llama.cpp's number of it, and the kind of a matrix, after those that it gives more bits. */
interface Mix {
  fileType: number;
  usual: WeightFormat;
  more?(place: Place): WeightFormat | undefined;
}

/** The output matrix, and the table where it is that too, in the better kinds of most mixes. */
const head = (name: string): boolean => name === 'output.weight';

/** The blocks that llama.cpp gives more bits: the first and the last eighth, and every third between. */
const important = ({ block, blocks }: Place): boolean => {
  const eighth = Math.floor(blocks / 8);
  return block < eighth || block >= Math.floor((7 * blocks) / 8) || (block - eighth) % 3 === 2;
};
const valuesAndDown = (name: string): boolean => /\.(attn_v|attn_qkv|ffn_down)\.weight$/.test(name);
const medium = (place: Place): WeightFormat | undefined =>
  head(place.name) || (valuesAndDown(place.name) && important(place)) ? q6_k : undefined;
const small = ({ name }: Place): WeightFormat | undefined => (head(name) ? q6_k : undefined);

const MIXES: Record<string, Mix> = {
  f32: { fileType: 0, usual: f32 },
  f16: { fileType: 1, usual: f16 },
  bf16: { fileType: 32, usual: bf16 },
  q8_0: { fileType: 7, usual: q8_0 },
  q6_k: { fileType: 18, usual: q6_k },
  q5_k_m: { fileType: 17, usual: q5_k, more: medium },
  q4_k_m: { fileType: 15, usual: q4_k, more: medium },
  q4_k_s: { fileType: 14, usual: q4_k, more: small },
  q4_0: { fileType: 2, usual: q4_0, more: small },
  q4_1: { fileType: 3, usual: q4_1, more: small },
  q5_0: { fileType: 8, usual: q5_0, more: small },
  q5_1: { fileType: 9, usual: q5_1, more: small },
  q3_k: { fileType: 11, usual: q3_k, more: small },
  q2_k: { fileType: 10, usual: q2_k, more: small },
};
/** As Unsloth calls some of them. */
const ALIASES: Record<string, string> = {
  not_quantized: 'bf16',
  fast_quantized: 'q8_0',
  quantized: 'q4_k_m',
  q4_k: 'q4_k_m',
  q5_k: 'q5_k_m',
};

/** What rows that a kind's blocks do not divide are packed in: as in llama.cpp, but for its IQ4_NL. */
const INSTEAD = new Map<WeightFormat, WeightFormat>([
  [q2_k, q4_0],
  [q3_k, q4_0],
  [q4_k, q5_0],
  [q5_k, q5_1],
  [q6_k, q8_0],
]);

export interface GgufMix {
  /** Its name in upper case, as it stands in names of files. */
  name: string;
  fileType: number;
  /** The kind of a matrix with so many columns. */
  formatOf(place: Place, columns: number): WeightFormat;
}

/** The mix of that name: 'q4_k_m', 'q8_0', 'f16', ... */
export function ggufMix(method: string): GgufMix {
  const wanted = String(method).toLowerCase();
  const name = Object.hasOwn(ALIASES, wanted) ? ALIASES[wanted] : wanted;
  if (!Object.hasOwn(MIXES, name)) {
    const guess = nearest(wanted, Object.keys(MIXES));
    throw new OptionError(
      `quantization_method is ${show(method)}; it can be ${Object.keys(MIXES).map(show).join(', ')}.${guess ? ` Did you mean ${show(guess)}?` : ''}`,
    );
  }
  const { fileType, usual, more } = MIXES[name];
  return {
    name: name.toUpperCase(),
    fileType,
    formatOf(place, columns) {
      const first = more?.(place) ?? usual;
      for (const format of [first, INSTEAD.get(first), f16]) if (format && columns % format.block === 0) return format;
      return f16;
    },
  };
}
