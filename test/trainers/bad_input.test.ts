// What a run cannot be made of: each a clear error at once, with what was seen and what to do.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AutoModelForCausalLM, Dataset, LoraConfig, SFTConfig, SFTTrainer } from '../../src/index';
import { chatRow, scratch } from '../tiny';
import { tinyModel, tokenizer } from '../train/small_runs';

const row = chatRow('What is 1?', 'It is 1.');
const load = async (options = {}) => AutoModelForCausalLM.from_pretrained(await tinyModel(), { progress: false, ...options });

interface Given {
  rows?: object[];
  evaluation?: object[];
  trainer?: Record<string, unknown>;
  args?: Record<string, unknown>;
}

async function make({ rows = [row, row, row], evaluation, trainer = {}, args = {} }: Given): Promise<SFTTrainer> {
  return new SFTTrainer({
    model: await load(),
    processing_class: tokenizer,
    train_dataset: Dataset.from_list(rows) as never,
    eval_dataset: evaluation ? (Dataset.from_list(evaluation) as never) : null,
    peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
    ...trainer,
    args: new SFTConfig({
      ...{ output_dir: scratch('bad'), disable_tqdm: true, max_steps: 4, report_to: [], assistant_only_loss: true, save_strategy: 'no' },
      ...args,
    }),
  });
}

const every = { eval_strategy: 'steps', eval_steps: 2 };
const REFUSED: [string, Given, RegExp][] = [
  ['columns that do not fit', { rows: [{ a: 1 }] }, /Row 0 has the fields a, which SFT cannot use\. Give \{messages/],
  ['no rows', { rows: [] }, /train_dataset has no rows\. Look at the file or filter/],
  ['no rows to evaluate', { evaluation: [], args: every }, /eval_dataset has no rows\. Look at/],
  [
    'an unknown metric',
    { evaluation: [row], args: { ...every, metric_for_best_model: 'f2' } },
    /'f2' is no figure of an evaluation\. There are loss/,
  ],
  [
    'max_length below the frame of the template',
    { args: { max_length: 12 } },
    /Every label is masked: .* within max_length = 12\..*raise max_length/,
  ],
  ['ids that are no numbers', { rows: [{ input_ids: [1, Number.NaN, 3] }] }, /input_ids must be a list of token ids, but has/],
  ['labels that are others', { rows: [{ input_ids: [1, 2, 3], labels: [1, Number.NaN, 3] }] }, /labels has .* at 1, where input_ids has 2/],
  ['an optimizer by a name that is nearly right', { args: { optim: 'adamw_8bits' } }, /Did you mean '(paged_)?adamw_8bit'\?/],
  ['a schedule likewise', { args: { lr_scheduler_type: 'cosin' } }, /Did you mean 'cosine'\?/],
];

it.each(REFUSED)('%s', async (_, given, told) => {
  await expect(make(given)).rejects.toThrow(told);
});

it('weights that are packed cannot be trained themselves', async () => {
  const model = await load({ quantization_config: { load_in_8bit: true } });
  await expect(make({ trainer: { model, peft_config: null } })).rejects.toThrow(/(cannot be trained|Load the model|dtype: 'float32')/);
  model.dispose();
});

it('one row is enough to learn from', async () => {
  const trainer = await make({ rows: [row] });
  expect((await trainer.train()).global_step).toBe(4);
  trainer.model.unload();
});

it('a folder that vanishes while training is made again', async () => {
  const callback = {
    on_step_end: ({ output_dir }: { output_dir: string }, { global_step }: { global_step: number }) => {
      if (global_step === 2) rmSync(output_dir, { recursive: true, force: true });
    },
  };
  const trainer = await make({ trainer: { callbacks: [callback] }, args: { save_strategy: 'steps', save_steps: 1 } });
  await trainer.train();
  const { output_dir } = trainer.args;
  expect(existsSync(join(output_dir, 'checkpoint-4', 'adapter_model.safetensors'))).toBe(true);
  const again = await make({ args: { output_dir, save_strategy: 'steps', save_steps: 1, max_steps: 4 } });
  await expect(again.train({ resume_from_checkpoint: true })).resolves.toBeDefined();
  for (const { model } of [trainer, again]) model.unload();
});
