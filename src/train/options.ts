import type { Known } from '../core/options';
import type { Sampling } from '../data/order';
import type { TrackerName } from './callbacks';
import type { ParamGroup } from './groups';
import type { HubTrainingOptions } from './hub_options';
import type { OptimizerName } from './optimizers';
import type { ScheduleName } from './schedules';

/** Options of a training run under transformers' names, with its defaults. */
export interface TrainingOptions extends HubTrainingOptions {
  /** Folder that checkpoints, the log and the trained weights are written to, from the notebook's folder. Default: 'trainer_output'. */
  output_dir: string;
  /** Rows in a batch. A step learns from this times gradient_accumulation_steps rows. Default: 8. */
  per_device_train_batch_size: number;
  /** Rows that go through the model at once in an evaluation, at most. Default: 8. */
  per_device_eval_batch_size: number;
  /** Batches whose gradients are added up before the weights change. More of them take no more memory. Default: 1. */
  gradient_accumulation_steps: number;
  /** How often every row is seen; a part of an epoch is allowed (0.5). max_steps goes before it. Default: 3. */
  num_train_epochs: number;
  /** Greater than 0: the number of steps, whatever the epochs; -1: as many as the epochs have. Default: -1. */
  max_steps: number;
  /** The peak of the learning rate, which the schedule's curve is multiplied with; 1e-4 to 3e-4 are usual for LoRA. Default: 5e-5. */
  learning_rate: number;
  /** The curve of the learning rate over the steps, after the warmup. Default: 'linear'. */
  lr_scheduler_type: Known<ScheduleName>;
  /** Options of the schedule's own, as transformers has them: { num_cycles: 2 } of cosine_with_restarts, say; null: none. Default: null. */
  lr_scheduler_kwargs: Record<string, number | string> | null;
  /** Steps in which the learning rate rises from 0 to its peak; below 1 a share of all steps. Default: 0. */
  warmup_steps: number;
  /** How much of each weight is taken away at a step, times the learning rate (AdamW's); biases and norms never. Default: 0. */
  weight_decay: number;
  /** LoRA+: B of each LoRA pair learns so many times faster than A (16, say); null: alike. Default: null. */
  loraplus_lr_ratio: number | null;
  /** LoRA+: the peak of the learning rate of pairs beside an embedding table. Default: 1e-6. */
  loraplus_lr_embedding: number;
  /** Discriminative rates: each layer learns at this share of the rate of the layer above it (0.9, say); null: all alike. Default: null. */
  layerwise_lr_decay: number | null;
  /** Rates and decay of tensors by their names: [{ params: 'embed_tokens', lr: 1e-6, weight_decay: 0 }]; the first that fits holds. Default: []. */
  param_groups: ParamGroup[];
  /** Adam's memory of gradients: the weight of the mean so far, below 1. Default: 0.9. */
  adam_beta1: number;
  /** Adam's memory of squared gradients: the weight of the mean so far, below 1. Default: 0.999. */
  adam_beta2: number;
  /** What Adam adds to the root of the squared gradients, so that it never divides by 0. Default: 1e-8. */
  adam_epsilon: number;
  /** The optimizer; those with 8bit in their name remember gradients in a quarter of the memory. Default: 'adamw_torch_fused'. */
  optim: Known<OptimizerName>;
  /** Options of the optimizer's own: 'momentum=0.9, nesterov=true' or an object, of sgd; null: none. Default: null. */
  optim_args: string | Record<string, number | boolean> | null;
  /** Noise added to embeddings while training (NEFTune): 5 is usual; null: none. Default: null. */
  neftune_noise_alpha: number | null;
  /** Gradients whose norm is larger are scaled down to it; 0 leaves them as they are. Default: 1. */
  max_grad_norm: number;
  /** The share of each label that is spread over all words or classes; 0.1 is usual, 0 none. Evaluations have it too. Default: 0. */
  label_smoothing_factor: number;
  /** When a line is logged: every logging_steps, after each epoch, or never. Default: 'steps'. */
  logging_strategy: 'no' | 'steps' | 'epoch';
  /** Steps from one line of the log to the next; below 1 a share of all steps. The plot has every step. Default: 10. */
  logging_steps: number;
  /** Whether the first step is logged too. Default: false. */
  logging_first_step: boolean;
  /** When the loss on eval_dataset is computed: never, every eval_steps, or after each epoch. Default: 'no'. */
  eval_strategy: 'no' | 'steps' | 'epoch';
  /** Steps from one evaluation to the next, below 1 a share of all; null: as logging_steps. Default: null. */
  eval_steps: number | null;
  /** Steps, or epochs where eval_strategy is 'epoch', before which nothing is evaluated. Default: 0. */
  eval_delay: number;
  /** Whether an evaluation comes before the first step too. Default: false. */
  eval_on_start: boolean;
  /** When a checkpoint is saved that training can be resumed from: never, every save_steps, after each epoch, or ('best') where an evaluation was the best so far. Default: 'steps'. */
  save_strategy: 'no' | 'steps' | 'epoch' | 'best';
  /** Steps from one checkpoint to the next; below 1 a share of all steps. Default: 500. */
  save_steps: number;
  /** How many checkpoints of its own a run keeps; null or 0: all. Default: null. */
  save_total_limit: number | null;
  /** Whether the model goes back to its best checkpoint (metric_for_best_model, by default the loss) when training ends. Default: false. */
  load_best_model_at_end: boolean;
  /** The figure of evaluations (loss or eval_loss, say) whose best value is noted; null: none. Default: null. */
  metric_for_best_model: string | null;
  /** Whether more of metric_for_best_model is better; null: unless its name ends in loss or perplexity. Default: null. */
  greater_is_better: boolean | null;
  /** Draws the adapter's first values, dropout and, without data_seed, the order of rows: the same seed trains to the same bits. Default: 42. */
  seed: number;
  /** Draws the order of rows; null: as seed. Default: null. */
  data_seed: number | null;
  /**
   * Who keeps a log besides log.jsonl in output_dir: 'tensorboard', 'mlflow' (a server: MLFLOW_TRACKING_URI), 'trackio' or 'wandb' (their Python
   * packages; wandb offline), all that can be used ('all'), or a list. Default: 'none'.
   */
  report_to: Known<TrackerName | 'all' | 'none'> | Known<TrackerName>[];
  /** TensorBoard's folder; null: TENSORBOARD_LOGGING_DIR, or runs/<date>_<machine> in output_dir. Default: null. */
  logging_dir: string | null;
  /** The project that 'trackio' and 'wandb' put the run into. Default: 'huggingface'. */
  project: string;
  /** What the run is called in its view and its logs; null: as output_dir. Default: null. */
  run_name: string | null;
  /** The folder of a checkpoint that train() goes on from, or true for the newest in output_dir. Default: null. */
  resume_from_checkpoint: string | boolean | null;
  /** Recompute each block in the backward pass: less memory, about a third more time. null: only where memory asks for it. Default: null. */
  gradient_checkpointing: boolean | null;
  /** Matrix products of bf16 values (sums, norms and weights stay fp32). null: where the CPU has instructions for it. Default: null. */
  bf16: boolean | null;
  /** Half precision, which tunebook does not have: true is an error that says what to use. Default: false. */
  fp16: boolean;
  /** Memory that a step may take for activations: MiB, or below 1 a share of what is free. Default: 0.6. */
  memory_limit: number;
  /** Taken as tutorials set it: columns that an objective does not use are never read. Default: true. */
  remove_unused_columns: boolean;
  /** The order of rows: 'random', 'sequential', or 'group_by_length': random, with rows of like length in a batch. Default: 'random'. */
  train_sampling_strategy: Known<Sampling>;
  /** Whether the last batch of an epoch is left out where it is not full. Default: false. */
  dataloader_drop_last: boolean;
  /** Whether the line of progress is left out. Default: false. */
  disable_tqdm: boolean;
  /** What the model is asked at every checkpoint, so that one sees it learn. Empty: only on request, with the first rows' prompts. Default: []. */
  sample_prompts: string[];
}
