import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { RopeParameters } from '../nn';
import { type KeyTable, warnOfUnknown } from './keys';

const KEYS: KeyTable = {
  rope_type: 'obeyed',
  type: 'obeyed',
  rope_theta: 'obeyed',
  factor: 'obeyed',
  original_max_position_embeddings: 'obeyed',
  attention_factor: 'obeyed',
  low_freq_factor: 'obeyed',
  high_freq_factor: 'obeyed',
  beta_fast: 'obeyed',
  beta_slow: 'obeyed',
  mscale: 'obeyed',
  mscale_all_dim: 'obeyed',
  truncate: 'obeyed',
  short_factor: 'obeyed',
  long_factor: 'obeyed',
  partial_rotary_factor: { refused: 'tunebook turns all dimensions of a head', unless: [1] },
  /** Whether the model was trained with these settings: a note. */
  finetuned: 'no effect',
};

const PARTIAL_KEYS: KeyTable = { ...KEYS, partial_rotary_factor: 'obeyed' };

/** Where architectures differ: their base, and whether only the first dimensions of a head may be turned. */
export interface RopeDefaults {
  theta?: number;
  partial?: boolean;
}

/** Kinds whose original length may stand beside the rope's parameters, and then counts more than theirs. */
const WITH_ORIGINAL = ['llama3', 'yarn', 'longrope'];

/**
 * What config.json says of rotary positions, in transformers 5's `rope_parameters` or before it (`rope_scaling`, `rope_theta`), with the
 * precedence of transformers: rope_scaling before rope_parameters, and a base or a share among them before the one beside them.
 */
export function readRope(
  json: Record<string, unknown>,
  maxPositions: number,
  where: string,
  { theta = 10000, partial = false }: RopeDefaults = {},
): RopeParameters & { rope_theta: number } {
  const given = json.rope_scaling || json.rope_parameters || {};
  if (typeof given !== 'object' || Array.isArray(given)) throw new FileError(`${where}: rope_parameters is ${show(given)}, not an object.`);
  const { type, ...found } = given as RopeParameters & { type?: string };
  const nested = Object.entries(found).find(([, value]) => typeof value === 'object' && value !== null && !Array.isArray(value));
  if (nested) throw new FileError(`${where} has a rope of its own for ${nested[0]}: tunebook has one rope for all layers.`);
  const rope = {
    ...found,
    rope_type: found.rope_type ?? type ?? 'default',
    rope_theta: (found.rope_theta ?? json.rope_theta ?? theta) as number,
    ...(json.partial_rotary_factor ? { partial_rotary_factor: found.partial_rotary_factor ?? (json.partial_rotary_factor as number) } : {}),
  };
  warnOfUnknown(Object.entries(rope), partial ? PARTIAL_KEYS : KEYS, `${where}: rope_parameters`);
  if (WITH_ORIGINAL.includes(rope.rope_type))
    rope.original_max_position_embeddings = (json.original_max_position_embeddings ??
      found.original_max_position_embeddings ??
      maxPositions) as number;
  return rope;
}
