import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { type Alias, checkNumber, checkOneOf, readOptions, show } from '../core/options';
import { SAMPLING } from '../data/order';
import { checkBest } from './best';
import { namedTrackers, TRACKERS } from './callbacks';
import { checkGroups } from './groups';
import { checkHubOptions, HUB_TRAINING_ALIASES, HUB_TRAINING_DEFAULTS } from './hub_options';
import { OPTIMIZERS, optimArgs } from './optimizers';
import type { TrainingOptions } from './options';
import { TRAINING_OTHERS } from './other_options';
import { checkPlateau } from './plateau';
import { rateFactor, SCHEDULES } from './schedules';

export type { TrainingOptions } from './options';

export const TRAINING_DEFAULTS: TrainingOptions = {
  output_dir: 'trainer_output',
  per_device_train_batch_size: 8,
  per_device_eval_batch_size: 8,
  gradient_accumulation_steps: 1,
  num_train_epochs: 3,
  max_steps: -1,
  learning_rate: 5e-5,
  lr_scheduler_type: 'linear',
  lr_scheduler_kwargs: null,
  warmup_steps: 0,
  weight_decay: 0,
  loraplus_lr_ratio: null,
  loraplus_lr_embedding: 1e-6,
  layerwise_lr_decay: null,
  param_groups: [],
  adam_beta1: 0.9,
  adam_beta2: 0.999,
  adam_epsilon: 1e-8,
  optim: 'adamw_torch_fused',
  optim_args: null,
  neftune_noise_alpha: null,
  max_grad_norm: 1,
  label_smoothing_factor: 0,
  logging_strategy: 'steps',
  logging_steps: 10,
  logging_first_step: false,
  eval_strategy: 'no',
  eval_steps: null,
  eval_delay: 0,
  eval_on_start: false,
  save_strategy: 'steps',
  save_steps: 500,
  save_total_limit: null,
  load_best_model_at_end: false,
  metric_for_best_model: null,
  greater_is_better: null,
  seed: 42,
  data_seed: null,
  report_to: 'none',
  logging_dir: null,
  project: 'huggingface',
  run_name: null,
  resume_from_checkpoint: null,
  gradient_checkpointing: null,
  bf16: null,
  fp16: false,
  memory_limit: 0.6,
  remove_unused_columns: true,
  train_sampling_strategy: 'random',
  dataloader_drop_last: false,
  disable_tqdm: false,
  sample_prompts: [],
  ...HUB_TRAINING_DEFAULTS,
};

/** Names of older tutorials. */
export const TRAINING_ALIASES: Record<string, Alias> = {
  warmup_ratio: { to: 'warmup_steps' },
  evaluation_strategy: { to: 'eval_strategy' },
  overwrite_output_dir: { to: null, why: 'a run that is not resumed writes its files anew' },
  save_safetensors: { to: null, why: 'files are always safetensors' },
  no_cuda: { to: null, why: 'the engine runs on the CPU' },
  use_cpu: { to: null, why: 'the engine runs on the CPU' },
  ...HUB_TRAINING_ALIASES,
  ...TRAINING_OTHERS,
  group_by_length: { to: 'train_sampling_strategy', convert: (value) => (value ? 'group_by_length' : 'random') },
};

/** Checks the values that only make sense in a range. */
function checkTraining(owner: string, o: TrainingOptions): void {
  const whole = { integer: true, min: 1 };
  checkNumber(owner, 'per_device_train_batch_size', o.per_device_train_batch_size, whole, 'It is the number of rows in a batch.');
  checkNumber(owner, 'gradient_accumulation_steps', o.gradient_accumulation_steps, whole, 'It is the number of batches in one step.');
  checkNumber(owner, 'learning_rate', o.learning_rate, { above: 0 }, '1e-4 to 3e-4 are usual for LoRA.');
  checkNumber(owner, 'max_steps', o.max_steps, { integer: true, min: -1 }, 'Use -1 to train for num_train_epochs.');
  if (o.max_steps <= 0) checkNumber(owner, 'num_train_epochs', o.num_train_epochs, { above: 0 }, 'Or set max_steps.');
  checkNumber(owner, 'warmup_steps', o.warmup_steps, { min: 0 }, 'Below 1 it is a share of all steps.');
  checkNumber(owner, 'weight_decay', o.weight_decay, { min: 0 }, '0 switches it off.');
  checkNumber(owner, 'adam_beta1', o.adam_beta1, { min: 0, below: 1 }, '0.9 is usual.');
  checkNumber(owner, 'adam_beta2', o.adam_beta2, { min: 0, below: 1 }, '0.999 is usual.');
  checkNumber(owner, 'max_grad_norm', o.max_grad_norm, { min: 0 }, '0 switches clipping off.');
  const remedies = {
    logging_steps: 'It is how often',
    eval_steps: "Use eval_strategy: 'no' for none",
    save_steps: "Use save_strategy: 'no' for none",
  };
  for (const [name, remedy] of Object.entries(remedies) as [keyof typeof remedies, string][]) {
    const every = o[name];
    if (name === 'eval_steps' && every === null) continue; // as often as the loss is logged
    const often = `${remedy}; below 1 it is a share of all steps.`;
    checkNumber(owner, name, every as number, { above: 0, integer: (every as number) > 1 }, often);
  }
  checkNumber(
    owner,
    'per_device_eval_batch_size',
    o.per_device_eval_batch_size,
    whole,
    'It is the number of rows in a batch of an evaluation.',
  );
  checkNumber(owner, 'adam_epsilon', o.adam_epsilon, { min: 0 }, '1e-8 is usual.');
  checkNumber(owner, 'seed', o.seed, { integer: true }, 'It decides what is drawn at random.');
  if (o.data_seed !== null) checkNumber(owner, 'data_seed', o.data_seed, { integer: true }, 'null takes seed.');
  if (o.save_total_limit !== null)
    checkNumber(owner, 'save_total_limit', o.save_total_limit, { integer: true }, 'null or 0 keeps all checkpoints.');
  checkNumber(owner, 'memory_limit', o.memory_limit, { above: 0 }, 'Below 1 it is a share of what is free, else MiB.');
  const one = (name: string, value: unknown, values: readonly string[]) => checkOneOf(owner, name, value, values);
  one('lr_scheduler_type', o.lr_scheduler_type, Object.keys(SCHEDULES));
  one('optim', o.optim, Object.keys(OPTIMIZERS));
  if (o.lr_scheduler_kwargs !== null && (typeof o.lr_scheduler_kwargs !== 'object' || Array.isArray(o.lr_scheduler_kwargs)))
    throw new OptionError(
      `${owner}: lr_scheduler_kwargs must be an object of the schedule's own options, but is ${show(o.lr_scheduler_kwargs)}.`,
    );
  rateFactor(o, { warmup: 0, total: 1 })(0); // says what the schedule lacks
  checkPlateau(owner, o);
  checkGroups(owner, o);
  checkNumber(owner, 'label_smoothing_factor', o.label_smoothing_factor, { min: 0, below: 1 }, '0.1 is usual; 0 switches it off.');
  checkNumber(owner, 'eval_delay', o.eval_delay, { min: 0 }, 'It is how many steps or epochs pass before the first evaluation.');
  one('logging_strategy', o.logging_strategy, ['no', 'steps', 'epoch']);
  optimArgs(OPTIMIZERS[o.optim], o.optim_args);
  one('eval_strategy', o.eval_strategy, ['no', 'steps', 'epoch']);
  one('save_strategy', o.save_strategy, ['no', 'steps', 'epoch', 'best']);
  one('train_sampling_strategy', o.train_sampling_strategy, SAMPLING);
  if (o.neftune_noise_alpha !== null)
    checkNumber(owner, 'neftune_noise_alpha', o.neftune_noise_alpha, { above: 0 }, '5 to 15 are usual; null adds no noise.');
  checkBest(owner, o);
  if (!o.remove_unused_columns)
    warnOnce(`${owner}: remove_unused_columns = false has no effect: columns that are not learned from are never read.`);
  checkHubOptions(owner, o);
  if (o.fp16) throw new OptionError(`${owner}: fp16 = true is not supported. Leave it out, or use bf16: true.`);
  for (const name of namedTrackers(o.report_to)) one('report_to', name, ['none', 'all', ...Object.keys(TRACKERS)]);
  if (!Array.isArray(o.sample_prompts) || !o.sample_prompts.every((prompt) => typeof prompt === 'string' && prompt))
    throw new OptionError(`${owner}: sample_prompts must be a list of texts, but is ${show(o.sample_prompts)}. [] takes no samples.`);
}

/** Options as users give them: one prompt is a list of one. */
export type GivenOptions<O extends TrainingOptions> = Partial<Omit<O, 'sample_prompts'>> & {
  /** What the model is asked at every checkpoint, so that one sees it learn. Empty: only on request, with the first rows' prompts. Default: []. */
  sample_prompts?: string | string[];
} & Record<string, unknown>;

export const trainingOptions = <T extends TrainingOptions>(
  owner: string,
  given: object,
  defaults: T,
  aliases: Record<string, Alias>,
): T => {
  const options = readOptions(owner, given, defaults, aliases);
  if (typeof options.sample_prompts === 'string') options.sample_prompts = [options.sample_prompts];
  checkTraining(owner, options);
  return options;
};
