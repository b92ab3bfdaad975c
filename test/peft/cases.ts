/** Every PEFT method as its tests take it: options by PEFT's names. A new method is a row. */
export interface MethodCase {
  config: { peft_type: string; [name: string]: unknown };
  /** It has no place in the matrices. */
  unmergeable?: boolean;
  /** It changes the model's answers from the first. */
  startsAnew?: boolean;
  /** Beside a model whose head shares its matrix with the embedding table. */
  tied?: boolean;
  /** Over a 4-bit base it packs the matrices anew, and starts near the base. */
  repacks?: boolean;
}

export const CASES: Record<string, MethodCase> = {
  'LoRA on all linear layers': { config: { peft_type: 'LORA', r: 4, target_modules: 'all-linear' } },
  'LoRA, and norms and head trained whole': {
    config: { peft_type: 'LORA', r: 4, target_modules: ['q_proj', 'down_proj'], modules_to_save: ['norm', 'lm_head'] },
  },
  'LoRA, and the table trained whole': {
    config: { peft_type: 'LORA', r: 4, target_modules: ['v_proj', 'up_proj'], modules_to_save: ['embed_tokens'] },
  },
  'LoRA, and of a tied model the table trained whole': {
    config: { peft_type: 'LORA', r: 4, target_modules: ['v_proj', 'up_proj'], modules_to_save: ['embed_tokens'] },
    tied: true,
  },
  'LoRA, and of a tied model the head trained whole': {
    config: { peft_type: 'LORA', r: 4, target_modules: ['v_proj', 'up_proj'], modules_to_save: ['lm_head'] },
    tied: true,
  },
  'LoRA, and of a tied model table and head trained whole': {
    config: { peft_type: 'LORA', r: 4, target_modules: ['v_proj', 'up_proj'], modules_to_save: ['embed_tokens', 'lm_head'] },
    tied: true,
  },
  DoRA: { config: { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: 'all-linear', use_dora: true } },
  'LoRA with biases': { config: { peft_type: 'LORA', r: 4, target_modules: ['k_proj', 'gate_proj'], lora_bias: true }, unmergeable: true },
  PiSSA: {
    config: { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj', 'down_proj'], init_lora_weights: 'pissa' },
    repacks: true,
  },
  'OLoRA, scaled by the root of the rank': {
    config: { peft_type: 'LORA', r: 4, use_rslora: true, target_modules: ['q_proj', 'up_proj'], init_lora_weights: 'olora' },
    repacks: true,
  },
  AdaLoRA: {
    config: {
      ...{ peft_type: 'ADALORA', init_r: 6, target_r: 2, tinit: 1, tfinal: 5, total_step: 18, lora_alpha: 16 },
      target_modules: ['q_proj', 'v_proj', 'down_proj'],
    },
  },
  VeRA: { config: { peft_type: 'VERA', r: 16, target_modules: ['q_proj', 'k_proj', 'down_proj'] } },
  'VeRA whose random matrices are drawn anew': { config: { peft_type: 'VERA', r: 8, save_projection: false, projection_prng_key: 7 } },
  LoHa: { config: { peft_type: 'LOHA', r: 2, alpha: 4, target_modules: 'all-linear' } },
  'LoHa of ranks that a pair would cost more than a matrix': {
    config: { peft_type: 'LOHA', r: 4, target_modules: ['q_proj', 'o_proj'], rank_pattern: { q_proj: 8 }, alpha_pattern: { q_proj: 16 } },
  },
  LoKr: { config: { peft_type: 'LOKR', r: 2, alpha: 4, target_modules: 'all-linear' } },
  'LoKr of whole factors': {
    config: { peft_type: 'LOKR', r: 8, target_modules: ['v_proj', 'down_proj', 'up_proj'], init_weights: 'lycoris' },
  },
  'LoKr of four factors': {
    config: { peft_type: 'LOKR', r: 2, target_modules: ['v_proj', 'down_proj'], decompose_both: true, decompose_factor: 8 },
  },
  MiSS: { config: { peft_type: 'MISS', r: 8, target_modules: 'all-linear' } },
  'MiSS of sums that do not come out even, repeated': {
    config: { peft_type: 'MISS', r: 12, mini_r: 8, init_weights: 'mini', target_modules: ['k_proj', 'down_proj'] },
  },
  'MiSS through the matrix (Bat)': { config: { peft_type: 'MISS', r: 8, init_weights: 'bat', target_modules: ['q_proj', 'down_proj'] } },
  HRA: { config: { peft_type: 'HRA', r: 4, target_modules: 'all-linear' } },
  'HRA of orthogonal planes': {
    config: { peft_type: 'HRA', r: 3, apply_GS: true, target_modules: ['q_proj', 'down_proj'] },
    startsAnew: true,
  },
  'HRA of an even number of orthogonal planes': {
    config: { peft_type: 'HRA', r: 4, apply_GS: true, init_weights: false, target_modules: ['v_proj', 'up_proj'] },
    startsAnew: true,
  },
  OFT: { config: { peft_type: 'OFT', oft_block_size: 8, target_modules: 'all-linear' } },
  'OFT of one rotation for all blocks, by its inverse': {
    config: {
      peft_type: 'OFT',
      r: 4,
      oft_block_size: 0,
      block_share: true,
      use_cayley_neumann: false,
      target_modules: ['v_proj', 'up_proj'],
    },
  },
  'OFT of rotations by three terms': {
    config: { peft_type: 'OFT', oft_block_size: 8, num_cayley_neumann_terms: 3, target_modules: ['q_proj', 'gate_proj'] },
  },
  BOFT: { config: { peft_type: 'BOFT', boft_block_size: 4, target_modules: ['q_proj', 'down_proj', 'gate_proj'] } },
  FourierFT: {
    config: { peft_type: 'FOURIERFT', n_frequency: 60, scaling: 20, init_weights: true, target_modules: ['q_proj', 'v_proj', 'down_proj'] },
  },
  '(IA)^3 as PEFT has it for Llama': { config: { peft_type: 'IA3' } },
  'LN tuning as PEFT has it for Llama': { config: { peft_type: 'LN_TUNING' } },
  'prompt tuning': { config: { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 5 }, unmergeable: true, startsAnew: true },
  'prompt tuning, and norms and head trained whole': {
    config: { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 5, modules_to_save: ['norm', 'lm_head'] },
    unmergeable: true,
    startsAnew: true,
  },
};

/** CASE='DoRA|HRA': those rows alone whose names fit. */
export const names = Object.keys(CASES).filter((name) => RegExp(process.env.CASE ?? '').test(name));
