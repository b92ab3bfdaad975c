import type { Alias } from '../core/options';

/** What a run is made of besides its training options, under the names of `trl sft`. */
export interface RunOptions {
  /** The model that is trained: a name of the Hub, a folder, a .gguf file. Needed. Default: null. */
  model_name_or_path: string | null;
  /** The branch, tag or commit of a model from the Hub. Default: 'main'. */
  model_revision: string;
  /** What matrices that are not quantised are kept in: auto, bfloat16 or float32; null: float32 without an adapter, else auto. Default: null. */
  dtype: string | null;
  /** Whether an adapter is trained beside the model (LoRA). Default: false. */
  use_peft: boolean;
  /** LoRA's rank. Default: 16. */
  lora_r: number;
  /** LoRA's update is scaled by lora_alpha / lora_r. Default: 32. */
  lora_alpha: number;
  /** The share of inputs that LoRA drops while training. Default: 0.05. */
  lora_dropout: number;
  /** The modules that LoRA stands beside, by the ends of their names, or all-linear; null: the usual ones. Default: null. */
  lora_target_modules: string | string[] | null;
  /** Modules that are trained whole beside the adapter. Default: null. */
  lora_modules_to_save: string[] | null;
  /** Whether LoRA's update is scaled by lora_alpha / sqrt(lora_r). Default: false. */
  use_rslora: boolean;
  /** Train directions and lengths of the weights apart (DoRA). Default: false. */
  use_dora: boolean;
  /** The adapter in PEFT's own words, { peft_type: IA3, ... }, in the place of use_peft and the lora_ options; in a file alone. Default: null. */
  peft_config: Record<string, unknown> | null;
  /** Whether the model's matrices are packed into 8 bits a value. Default: false. */
  load_in_8bit: boolean;
  /** Whether the model's matrices are packed into 4 bits a value. Default: false. */
  load_in_4bit: boolean;
  /** The values that 4 bits stand for: nf4 or fp4. Default: 'nf4'. */
  bnb_4bit_quant_type: string;
  /** Whether the blocks' scales are quantised too. Default: false. */
  use_bnb_nested_quant: boolean;
  /** The rows: a name, a file, a folder, as load_dataset takes them. Needed, or datasets. Default: null. */
  dataset_name: string | null;
  /** A configuration of the data set. Default: null. */
  dataset_config: string | null;
  /** The split that is trained on; train[:10%] is a part. Default: 'train'. */
  dataset_train_split: string;
  /** The split that is evaluated on, where eval_strategy is not no. Default: 'test'. */
  dataset_test_split: string;
  /** Several data sets, each { path, name, data_dir, data_files, split, columns }, one behind the other; in a file alone. Default: []. */
  datasets: Record<string, unknown>[];
  /** The share, or the number, of the rows of datasets that are kept for evaluation. Default: null. */
  test_split_size: number | null;
}

export const RUN_DEFAULTS: RunOptions = {
  model_name_or_path: null,
  model_revision: 'main',
  dtype: null,
  use_peft: false,
  lora_r: 16,
  lora_alpha: 32,
  lora_dropout: 0.05,
  lora_target_modules: null,
  lora_modules_to_save: null,
  use_rslora: false,
  use_dora: false,
  peft_config: null,
  load_in_8bit: false,
  load_in_4bit: false,
  bnb_4bit_quant_type: 'nf4',
  use_bnb_nested_quant: false,
  dataset_name: null,
  dataset_config: null,
  dataset_train_split: 'train',
  dataset_test_split: 'test',
  datasets: [],
  test_split_size: null,
};

const none = (why: string): Alias => ({ to: null, why });
const lacks = (would: string, unused: unknown): Alias => ({ to: null, would, unused });

/** TRL's other keys, and names of older versions. */
export const RUN_ALIASES: Record<string, Alias> = {
  torch_dtype: { to: 'dtype' },
  attn_implementation: none('attention is an op of the engine'),
  bnb_4bit_quant_storage: none('it says what packed bytes are saved as, and only the adapter is saved'),
  trust_remote_code: lacks("run code from the model's repository", false),
  lora_target_parameters: lacks('put LoRA beside single parameters; name modules in lora_target_modules', null),
  lora_task_type: lacks("train another task than 'CAUSAL_LM'", 'CAUSAL_LM'),
  dataset_streaming: lacks('stream the rows', false),
  streaming: lacks('stream the rows', false),
  gradient_checkpointing_use_reentrant: none('blocks are recomputed in one way'),
  ignore_bias_buffers: none('training runs on one machine'),
};
