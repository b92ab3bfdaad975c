import { OptionError } from '../core/errors';
import * as tf from '../engine/tf';

/** config.json's `rope_parameters` (transformers 5) or `rope_scaling` (earlier). */
export interface RopeParameters {
  rope_type?: string;
  rope_theta?: number;
  factor?: number;
  low_freq_factor?: number;
  high_freq_factor?: number;
  original_max_position_embeddings?: number;
}

/** Angles per position of each pair of dimensions, as transformers' `modeling_rope_utils` computes them. [dim / 2] */
export function inverseFrequencies(dim: number, theta: number, parameters: RopeParameters): number[] {
  const plain = Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
  const { rope_type: type = 'default', factor = 1 } = parameters;
  if (type === 'default') return plain;
  if (type === 'linear') return plain.map((f) => f / factor);
  if (type === 'llama3') {
    const { low_freq_factor: low = 1, high_freq_factor: high = 4, original_max_position_embeddings: original = 8192 } = parameters;
    return plain.map((f) => {
      const wavelength = (2 * Math.PI) / f;
      if (wavelength < original / high) return f;
      if (wavelength > original / low) return f / factor;
      const smooth = (original / wavelength - low) / (high - low);
      return ((1 - smooth) * f) / factor + smooth * f;
    });
  }
  throw new OptionError(`The model asks for rope_type ${type}, which tunebook does not know; it knows default, linear and llama3.`);
}

/** Cosines and sines of positions: two tensors [positions, dim / 2]. */
export function rotaryTables(frequencies: number[], positions: number[]): { cos: tf.Tensor2D; sin: tf.Tensor2D } {
  const half = frequencies.length;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (const [row, position] of positions.entries())
    for (let i = 0; i < half; i++) {
      // fp32 as in transformers: position times frequency is rounded before the cosine is taken
      const angle = Math.fround(position * Math.fround(frequencies[i]));
      cos[row * half + i] = Math.cos(angle);
      sin[row * half + i] = Math.sin(angle);
    }
  return { cos: tf.tensor2d(cos, [positions.length, half]), sin: tf.tensor2d(sin, [positions.length, half]) };
}
