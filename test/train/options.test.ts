import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { on, SFTConfig } from '../../src/index';
import { TRAINING_DEFAULTS } from '../../src/train/config';

/** What tutorials set in SFTConfig (trl 1.16, transformers 5.23, and older names), with values that are not the default. */
const TUTORIALS: Record<string, unknown> = {
  ...{
    output_dir: 'x',
    per_device_train_batch_size: 2,
    per_device_eval_batch_size: 2,
    gradient_accumulation_steps: 2,
    num_train_epochs: 1,
  },
  ...{ max_steps: 3, learning_rate: 1e-4, lr_scheduler_type: 'cosine', lr_scheduler_kwargs: null, warmup_steps: 3, weight_decay: 0.1 },
  ...{
    adam_beta1: 0.8,
    adam_beta2: 0.9,
    adam_epsilon: 1e-6,
    optim: 'adafactor',
    optim_args: null,
    max_grad_norm: 0.3,
    bf16: true,
    fp16: true,
  },
  ...{ gradient_checkpointing: true, activation_checkpointing: true, gradient_checkpointing_kwargs: { use_reentrant: false } },
  ...{
    logging_steps: 5,
    logging_strategy: 'epoch',
    logging_first_step: true,
    eval_strategy: 'steps',
    eval_steps: 5,
    save_strategy: 'epoch',
  },
  ...{ save_steps: 5, save_total_limit: 2, load_best_model_at_end: true, metric_for_best_model: 'loss', greater_is_better: false },
  ...{ report_to: 'tensorboard', seed: 1, data_seed: 2, remove_unused_columns: false, label_names: ['labels'], dataloader_num_workers: 4 },
  ...{ dataloader_drop_last: true, dataloader_pin_memory: true, train_sampling_strategy: 'group_by_length', neftune_noise_alpha: 5 },
  ...{ label_smoothing_factor: 0.1, push_to_hub: true, hub_model_id: 'a/b', run_name: 'r', use_cpu: true, resume_from_checkpoint: true },
  ...{ auto_find_batch_size: true, disable_tqdm: true, tf32: true, torch_compile: true, max_length: 512, packing: true },
  ...{ packing_strategy: 'wrapped', eval_packing: true, padding_free: true, completion_only_loss: true, assistant_only_loss: true },
  ...{ dataset_text_field: 'body', dataset_kwargs: { skip_prepare_dataset: true }, dataset_num_proc: 4, eos_token: '<end>' },
  ...{ chat_template_path: 'x', shuffle_dataset: true, truncation_mode: 'keep_end', loss_type: 'dft', activation_offloading: true },
  ...{ pad_to_multiple_of: 8, model_init_kwargs: { dtype: 'auto' } },
  ...{
    warmup_ratio: 0.1,
    evaluation_strategy: 'steps',
    group_by_length: true,
    logging_dir: 'x',
    overwrite_output_dir: true,
    no_cuda: true,
  },
  ...{ save_safetensors: false, push_to_hub_token: 'hf_x', max_seq_length: 512 },
};

/** What an option needs beside it. */
const BESIDE: Record<string, object> = {
  load_best_model_at_end: { eval_strategy: 'steps', eval_steps: 5, save_steps: 5 },
  greater_is_better: { metric_for_best_model: 'loss' },
};

it('every option that tutorials set works, or is refused or passed over with the reason', () => {
  const words: string[] = [];
  const off = on('warning', ({ text }) => words.push(text));
  for (const [name, value] of Object.entries(TUTORIALS)) {
    words.length = 0;
    let config: SFTConfig | undefined;
    try {
      config = new SFTConfig({ ...BESIDE[name], [name]: value });
    } catch (error) {
      expect((error as Error).message, name).toMatch(
        / that tunebook does not have: it would .* Leave it out\.$|^SFTConfig: fp16 = true is not supported/,
      );
      continue;
    }
    const own = (config as unknown as Record<string, unknown>)[name];
    if (own !== undefined && name !== 'remove_unused_columns') expect(own, name).toEqual(value);
    // Of another name, or without effect: one of both is said, once.
    else expect(words.join(), name).toMatch(/is now called|has no effect/);
  }
  off();
  for (const value of [undefined, 'bfd', 'bfd_split', 'wrapped'] as const) new SFTConfig({ packing_strategy: value });
});

it('every option of a run is read by something', () => {
  const files = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)],
    );
  const text = files('src')
    .filter((path) => path.endsWith('.ts') && !/train\/(config|options|hub_options)\.ts$/.test(path))
    .map((path) => readFileSync(path, 'utf8'))
    .join();
  // remove_unused_columns: false is answered by a warning.
  for (const name of Object.keys(TRAINING_DEFAULTS).filter((one) => one !== 'remove_unused_columns'))
    expect(new RegExp(`\\b${name}\\b`).test(text), name).toBe(true);
});
