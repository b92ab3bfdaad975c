import type { Alias } from '../core/options';

const none = (why: string): Alias => ({ to: null, why });
const lacks = (would: string, unused: unknown = null): Alias => ({ to: null, would, unused });

/** Options of transformers' that tutorials set and this trainer does not have: those without effect here, with why, and those that are refused. */
export const TRAINING_OTHERS: Record<string, Alias> = {
  activation_checkpointing: { to: 'gradient_checkpointing' },
  auto_find_batch_size: none('micro-batches are sized by the memory that is free (memory_limit)'),
  dataloader_num_workers: none('rows are in memory as tokens before training begins'),
  dataloader_pin_memory: none('rows are in memory as tokens before training begins'),
  dataloader_persistent_workers: none('rows are in memory as tokens before training begins'),
  ddp_find_unused_parameters: none('training runs on one machine'),
  gradient_checkpointing_kwargs: none('blocks are recomputed in one way'),
  label_names: none('an objective knows its labels'),
  tf32: none('products are of fp32 or bf16 values (bf16)'),
  torch_compile: none('ops are fused already'),
  activation_checkpointing_kwargs: none('blocks are recomputed in one way'),
  average_tokens_across_devices: none('training runs on one machine'),
  batch_eval_metrics: lacks('compute metrics batch by batch; compute_metrics gets all rows at once', false),
  bf16_full_eval: none('evaluations run as training does (bf16)'),
  dataloader_prefetch_factor: none('rows are in memory as tokens before training begins'),
  do_eval: none('eval_strategy says when there is an evaluation'),
  do_predict: none('nothing is predicted by itself'),
  do_train: none('trainer.train() trains'),
  eval_accumulation_steps: none('what an evaluation makes is in the memory of the CPU'),
  fsdp: none('training runs on one machine'),
  deepspeed: none('training runs on one machine'),
  full_determinism: none('runs with the same seed are equal to the bit'),
  ignore_data_skip: lacks('go on from a checkpoint with the first rows again; a resumed run goes on where it was', false),
  include_num_input_tokens_seen: none('num_input_tokens_seen always counts'),
  include_tokens_per_second: none('tokens per second are always plotted'),
  local_rank: none('training runs on one machine'),
  log_level: none('warnings are always shown'),
  logging_nan_inf_filter: none('a loss that is not a number ends the run, saved, and is never in a mean'),
  save_only_model: lacks('save checkpoints that training cannot go on from', false),
  skip_memory_metrics: none('memory is measured at no cost'),
  use_cache: none('training needs no cache of keys and values'),
  use_liger_kernel: none('ops are fused already'),
  torch_empty_cache_steps: none('there is no cache of a GPU to empty'),
};

/** The same of TRL's SFTConfig. */
export const SFT_OTHERS: Record<string, Alias> = {
  activation_offloading: none('activations are in the memory of the CPU'),
  dataset_kwargs: lacks('prepare rows in another way'),
  dataset_num_proc: none('rows are prepared in one go'),
  model_init_kwargs: lacks('load the model; give from_pretrained these options and the trainer the model'),
  pad_to_multiple_of: none('rows are never padded'),
  padding_free: none('rows are never padded'),
};
