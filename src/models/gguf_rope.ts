import { FileError } from '../core/errors';
import { show } from '../core/options';
import { floats } from '../formats/floats';
import type { Gguf } from '../formats/gguf';
import { withFile } from '../formats/slices';
import { type RopeParameters, rotation } from '../nn';
import type { GetNumber } from './gguf_metadata';

/** What a GGUF file's metadata says of its rope. */
interface Scaling {
  dim: number;
  theta: number;
  /** Positions of the model, and of its training before they were scaled. */
  positions: number;
  original: number;
  kind: string;
  factor: number;
  /** What cosines are multiplied by. */
  attention: number;
}

async function vector(gguf: Gguf, name: string): Promise<number[] | undefined> {
  const tensor = gguf.tensors.get(name);
  if (!tensor) return undefined;
  if (tensor.type !== 'F32') throw new FileError(`${gguf.path}: ${name} is stored as ${tensor.type}; F32 is expected.`);
  const [count] = tensor.shape;
  return withFile(tensor.path, async (read) => [...floats.F32(await read(tensor), count)]);
}

/**
 * Factors of Llama 3.1 stand in a tensor, as what frequencies are divided by: where they are those of Meta's rule they are called by its
 * name, otherwise 'longrope' says the same of any factors.
 */
function dividedBy(factors: number[], { dim, theta, positions }: Scaling): RopeParameters {
  if (factors.every((f) => f === 1)) return {};
  const rule = {
    rope_type: 'llama3',
    factor: Math.max(...factors),
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const turns = (parameters: RopeParameters) => rotation({ dim, theta, max_position_embeddings: positions, parameters }, 1).frequencies;
  const plain = turns({});
  if (factors.length === plain.length && turns(rule).every((f, i) => Math.abs((f * factors[i]) / plain[i] - 1) < 1e-5)) return rule;
  return {
    rope_type: 'longrope',
    short_factor: factors,
    long_factor: factors,
    attention_factor: 1,
    original_max_position_embeddings: positions,
  };
}

/** As llama.cpp computes it: what cosines are multiplied by is YaRN's own factor times the file's. */
function yarnOf(get: GetNumber, { factor, attention, original }: Scaling): RopeParameters {
  const scaled = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const log = get('rope.scaling.yarn_log_multiplier');
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: original,
    beta_fast: get('rope.scaling.yarn_beta_fast') ?? 32,
    beta_slow: get('rope.scaling.yarn_beta_slow') ?? 1,
    attention_factor: (attention * scaled(1)) / (log ? scaled(log) : 1),
  };
}

/** The rotary settings of a file in config.json's terms; of the kind `usual` where it says none. A kind that tunebook lacks, or two at once, is a FileError. */
export async function ropeOfGguf(gguf: Gguf, get: GetNumber, dim: number, usual = 'linear'): Promise<RopeParameters> {
  const positions = get('context_length') ?? 2048;
  const scaling: Scaling = {
    dim,
    positions,
    theta: get('rope.freq_base') ?? 10000,
    original: get('rope.scaling.original_context_length') ?? positions,
    kind: (get('rope.scaling.type') as unknown as string | undefined) ?? usual,
    factor: get('rope.scaling.factor') || get('rope.scale_linear') || 1,
    attention: get('rope.scaling.attn_factor') ?? 1,
  };
  return { rope_theta: scaling.theta, ...(await scaled(gguf, get, scaling)) };
}

async function scaled(gguf: Gguf, get: GetNumber, scaling: Scaling): Promise<RopeParameters> {
  const { kind, factor, attention, original } = scaling;
  const fail = (what: string) => new FileError(`${gguf.path} ${what}.`);
  const off = (kind === 'linear' && factor === 1) || kind === 'none';
  const [any, short, long] = [
    await vector(gguf, 'rope_freqs.weight'),
    await vector(gguf, 'rope_factors_short.weight'),
    await vector(gguf, 'rope_factors_long.weight'),
  ];
  if (any) {
    if (!off || attention !== 1) throw fail(`has both rope_freqs.weight and rope.scaling (${kind}, ${factor}): tunebook takes one of them`);
    return dividedBy(any, scaling);
  }
  if (kind === 'longrope') {
    if (!short || !long)
      throw fail('sets rope.scaling.type to longrope, but has no rope_factors_short.weight and rope_factors_long.weight');
    return {
      rope_type: kind,
      short_factor: short,
      long_factor: long,
      attention_factor: attention,
      original_max_position_embeddings: original,
    };
  }
  if (short || long) throw fail(`has rope_factors_short.weight, but its rope.scaling.type is ${show(kind)}, not 'longrope'`);
  if (kind === 'yarn') return yarnOf(get, scaling);
  if (attention !== 1)
    throw fail(`sets rope.scaling.attn_factor to ${attention} for rope.scaling.type ${show(kind)}: tunebook has it for yarn and longrope`);
  if (off) return {};
  if (kind !== 'linear')
    throw fail(`sets rope.scaling.type to ${show(kind)}, which tunebook does not have in GGUF; it has none, linear, yarn, longrope`);
  return { rope_type: 'linear', factor };
}
