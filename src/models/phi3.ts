import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { Architecture } from './architecture';
import type { KeyTable } from './keys';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, ggufNames, windowIn } from './pre_norm_gguf';

interface Phi3Config extends PreNormConfig {
  /** Tokens that a token sees, itself among them; null: all before it. */
  sliding_window: number | null;
  original_max_position_embeddings: number;
}

const dropped = { ignored: 'tunebook drops no activations while it trains' };
const KEYS: KeyTable = { ...PRE_NORM_KEYS, sliding_window: 'obeyed', resid_pdrop: dropped, embd_pdrop: dropped };
const DEFAULTS = {
  ...{ max_position_embeddings: 4096, original_max_position_embeddings: 4096, rms_norm_eps: 1e-5, sliding_window: null },
  ...{ bos_token_id: 1, eos_token_id: 32000, pad_token_id: 32000 },
};
const biases = { q: false, k: false, v: false, o: false, mlp: false };

function phi3Config(json: Record<string, unknown>, name: string): Phi3Config {
  const original = json.original_max_position_embeddings ?? DEFAULTS.original_max_position_embeddings;
  const config = preNormConfig<Phi3Config>({ ...json, original_max_position_embeddings: original }, KEYS, DEFAULTS, name, {
    partial: true,
  });
  const rope = config.rope_parameters;
  // Files of older versions call it otherwise.
  if (rope.rope_type === 'su' || rope.rope_type === 'yarn') rope.rope_type = 'longrope';
  if (rope.rope_type === 'longrope') rope.original_max_position_embeddings = config.original_max_position_embeddings;
  if (!['default', 'longrope'].includes(rope.rope_type as string))
    throw new FileError(
      `The config.json of ${name} sets rope_type to ${show(rope.rope_type)}: this architecture has 'default' and 'longrope'.`,
    );
  return config;
}

/** Phi-3 and Phi-4 mini (Abdin et al., 2024, https://arxiv.org/abs/2404.14219): Llama with joined matrices; some turn a part of each head. */
export const phi3: Architecture<Phi3Config> = {
  model_type: 'phi3',
  name: 'Phi3',
  keys: KEYS,
  config: phi3Config,
  decoder: (config, source, report) =>
    PreNormDecoder.load(config, { biases, windowOf: () => config.sliding_window ?? undefined, joined: true }, source, report),
  gguf: {
    keys: GGUF_KEYS,
    async config(gguf) {
      // llama.cpp's converter leaves the kind out.
      const usual = gguf.tensors.has('rope_factors_long.weight') ? 'longrope' : 'linear';
      const { rope_parameters, ...config } = await configFromGguf(gguf, { partial: true, rope: usual });
      const rope = rope_parameters as { original_max_position_embeddings?: number };
      return {
        ...config,
        rope_parameters,
        original_max_position_embeddings: rope.original_max_position_embeddings ?? config.max_position_embeddings,
        sliding_window: windowIn(gguf) ?? null,
      };
    },
    names: () =>
      ggufNames(/^$/, [
        ['attn_qkv', 'self_attn.qkv_proj'],
        ['ffn_up', 'mlp.gate_up_proj'],
      ]),
  },
};
