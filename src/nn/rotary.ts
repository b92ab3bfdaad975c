import { OptionError } from '../core/errors';
import * as tf from '../engine/tf';

/** config.json's `rope_parameters` (transformers 5) or `rope_scaling` (earlier). */
export interface RopeParameters {
  rope_type?: string;
  rope_theta?: number;
  factor?: number | null;
  original_max_position_embeddings?: number;
  /** What cosines and sines are multiplied by (yarn, longrope). */
  attention_factor?: number | null;
  low_freq_factor?: number;
  high_freq_factor?: number;
  beta_fast?: number | null;
  beta_slow?: number | null;
  mscale?: number | null;
  mscale_all_dim?: number | null;
  truncate?: boolean;
  short_factor?: number[];
  long_factor?: number[];
  partial_rotary_factor?: number;
}

export interface RopeConfig {
  /** Dimensions of a head that are turned: its first ones. */
  dim: number;
  theta: number;
  max_position_embeddings: number;
  parameters: RopeParameters;
}

export interface Rotation {
  /** Angles per position of each pair of dimensions. [dim / 2] */
  frequencies: number[];
  /** What cosines and sines are multiplied by. */
  factor: number;
}

const plain = (dim: number, theta: number) => Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
const originalOf = ({ parameters, max_position_embeddings }: RopeConfig) =>
  parameters.original_max_position_embeddings ?? max_position_embeddings;

/** A model's rope_type, and what it makes of a text of `length` tokens; as transformers' `modeling_rope_utils` computes them. */
const KINDS: Record<string, (config: RopeConfig, length: number) => Rotation> = {
  default: ({ dim, theta }) => ({ frequencies: plain(dim, theta), factor: 1 }),
  linear: ({ dim, theta, parameters }) => ({ frequencies: plain(dim, theta).map((f) => f / (parameters.factor ?? 1)), factor: 1 }),
  /** NTK-aware: the base grows with a text that is longer than what the model was trained on. */
  dynamic: ({ dim, theta, max_position_embeddings: most, parameters }, length) => {
    const factor = parameters.factor ?? 1;
    const grown = theta * ((factor * Math.max(length, most)) / most - (factor - 1)) ** (dim / (dim - 2));
    return { frequencies: plain(dim, grown), factor: 1 };
  },
  llama3: (config) => {
    const { factor, low_freq_factor: low = 1, high_freq_factor: high = 4 } = config.parameters;
    const original = originalOf(config);
    const frequencies = plain(config.dim, config.theta).map((f) => {
      const wavelength = (2 * Math.PI) / f;
      if (wavelength < original / high) return f;
      if (wavelength > original / low) return f / (factor ?? 1);
      const smooth = (original / wavelength - low) / (high - low);
      return ((1 - smooth) * f) / (factor ?? 1) + smooth * f;
    });
    return { frequencies, factor: 1 };
  },
  /** Peng et al. 2023: pairs that turn often within the original length stay, slow ones are interpolated, with a ramp between. */
  yarn: (config) => {
    const { dim, theta, parameters } = config;
    const original = originalOf(config);
    const factor = parameters.factor ?? config.max_position_embeddings / original;
    const pairOf = (turns: number) => (dim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
    const [fast, slow] = [pairOf(parameters.beta_fast || 32), pairOf(parameters.beta_slow || 1)];
    const whole = parameters.truncate ?? true;
    const low = Math.max(whole ? Math.floor(fast) : fast, 0);
    let high = Math.min(whole ? Math.ceil(slow) : slow, dim - 1);
    if (low === high) high += 0.001;
    const frequencies = plain(dim, theta).map((f, i) => {
      const interpolated = Math.min(Math.max((i - low) / (high - low), 0), 1);
      return (f / factor) * interpolated + f * (1 - interpolated);
    });
    const scaled = (scale = 1) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
    const { attention_factor, mscale, mscale_all_dim: all } = parameters;
    return { frequencies, factor: attention_factor ?? (mscale && all ? scaled(mscale) / scaled(all) : scaled()) };
  },
  /** Ding et al. 2024: a factor for every pair, other ones where the text is longer than the original length. */
  longrope: (config, length) => {
    const { dim, theta, parameters } = config;
    const original = originalOf(config);
    const name = length > original ? 'long_factor' : 'short_factor';
    const factors = parameters[name];
    if (factors?.length !== dim / 2)
      throw new OptionError(`The model's rope_parameters need a ${name} of ${dim / 2} numbers, and have ${factors?.length ?? 'none'}.`);
    const factor = parameters.factor ?? config.max_position_embeddings / original;
    return {
      frequencies: plain(dim, theta).map((f, i) => f / factors[i]),
      factor: parameters.attention_factor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original))),
    };
  },
};

/** The rotation that turns nothing of a head of so many dimensions. */
export const STILL = (dim: number): Rotation => ({ frequencies: Array<number>(dim / 2).fill(0), factor: 1 });

/** The rotation of a text of `length` tokens. An unknown rope_type is an OptionError. */
export function rotation(config: RopeConfig, length: number): Rotation {
  const { rope_type: type = 'default' } = config.parameters;
  if (!Object.hasOwn(KINDS, type))
    throw new OptionError(`The model asks for rope_type ${type}, which tunebook does not know; it knows ${Object.keys(KINDS).join(', ')}.`);
  return KINDS[type](config, length);
}

/** Cosines and sines of positions: two tensors [positions, dim / 2]. */
export function rotaryTables({ frequencies, factor }: Rotation, positions: number[]): { cos: tf.Tensor2D; sin: tf.Tensor2D } {
  const half = frequencies.length;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (const [row, position] of positions.entries())
    for (let i = 0; i < half; i++) {
      // fp32 as in transformers: position times frequency is rounded before the cosine is taken
      const angle = Math.fround(position * Math.fround(frequencies[i]));
      cos[row * half + i] = Math.cos(angle) * factor;
      sin[row * half + i] = Math.sin(angle) * factor;
    }
  return { cos: tf.tensor2d(cos, [positions.length, half]), sin: tf.tensor2d(sin, [positions.length, half]) };
}
