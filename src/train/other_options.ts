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
  dataloader_drop_last: lacks('leave out the last batch of an epoch where it is not full', false),
  label_smoothing_factor: lacks('spread a share of each label over all tokens', 0),
  logging_strategy: lacks("log once an epoch, or never; logging_steps says how often the loss is logged ('steps')", 'steps'),
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
