/** A field of a config of PEFT's that does nothing here. */
export interface Field {
  /** The value at which PEFT does not use it, and writes it. */
  unused: unknown;
  /** What it would do: another value is refused with this. Without it, the field has no effect on the models that there are. */
  would?: string;
  /** It is about first values alone: a saved adapter has its own, and can be read. */
  initial?: boolean;
  /** It is not written to adapter_config.json. */
  unwritten?: boolean;
}

const starts = (would: string): Field => ({ unused: null, would, initial: true });
const needs = (would: string, unused: unknown = null): Field => ({ unused, would });

/** Those of all methods. */
export const SHARED_FIELDS: Record<string, Field> = {
  auto_mapping: { unused: null },
  peft_version: { unused: null, unwritten: true },
};

/** Every field of PEFT 0.21's LoraConfig that LoraOptions does not have. */
export const LORA_FIELDS: Record<string, Field> = {
  alora_invocation_tokens: needs('make the adapter act only behind certain tokens (aLoRA)'),
  arrow_config: needs('choose among several adapters for each token (Arrow)'),
  corda_config: starts('set up CorDA'),
  ensure_weight_tying: needs(
    "share one adapter between the embedding table and the output head; without it, 'lm_head' gets its own",
    false,
  ),
  eva_config: starts('set up EVA'),
  fan_in_fan_out: { unused: false }, // of layers that keep their matrix transposed (GPT-2's): PEFT sets it to false beside others
  kasa_config: needs('take small singular values off the weights (KaSA)'),
  layer_replication: needs('repeat layers of the model'),
  lora_ga_config: starts('set up LoRA-GA'),
  megatron_config: needs('spread layers over machines with Megatron'),
  megatron_core: { unused: 'megatron.core' }, // means something beside megatron_config alone
  monteclora_config: needs('draw the adapter at random (MonteCLoRA)'),
  qalora_group_size: { unused: 16 }, // means something beside use_qalora alone
  runtime_config: { ...needs('move work between GPU and CPU', { ephemeral_gpu_offload: false }), unwritten: true },
  target_parameters: needs('adapt tensors that are no layers'),
  trainable_token_indices: needs('train the rows of some tokens'),
  use_bdlora: needs('make A or B block-diagonal (BD-LoRA)'),
  use_qalora: needs('average groups of inputs (QALoRA)', false),
  velora_config: needs('compress what the backward pass keeps (VeLoRA)'),
};

/** Whether a value means that the field is not used. */
export function isUnused({ unused }: Field, value: unknown): boolean {
  const empty = value === null || value === undefined || value === false || JSON.stringify(value) === '{}';
  return empty || JSON.stringify(value) === JSON.stringify(unused);
}

/** PEFT's initialisations that change the base model's weights by what data say: the adapter fits those, and not the weights as they were. */
const BY_DATA = /^(corda|lora_ga)$/;
/** Others that tunebook does not have, of which a saved adapter needs nothing. */
const FIRST_VALUES = /^eva$/;
const NAMED = /^(gaussian|pissa(_niter_\d+)?|olora|loftq|orthogonal)$/;

/** What is wrong with init_lora_weights, if something is; `saved`: of an adapter whose values are in a file. */
export function initFault(value: unknown, r: number, saved: boolean): string | undefined {
  if (typeof value === 'boolean') return undefined;
  const name = typeof value === 'string' ? value.toLowerCase() : '';
  if (name === 'orthogonal' && r % 2) return `takes an even rank, but r is ${r}.`;
  if (NAMED.test(name) || (saved && FIRST_VALUES.test(name))) return undefined;
  if (!saved || !BY_DATA.test(name))
    return "is not an initialisation that tunebook has: true, false, 'gaussian', 'pissa', 'pissa_niter_16', 'olora', 'loftq' and 'orthogonal' are. Others of PEFT's need data.";
  return (
    'changed the weights of the base model, and the adapter fits only those: beside the weights as they are it would answer wrongly. ' +
    'Convert it in PEFT: peft_model.save_pretrained(folder, path_initial_model_for_weight_conversion=...), with the adapter as it was saved before training.'
  );
}
