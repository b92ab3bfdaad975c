import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import {
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  Dataset,
  get_peft_model,
  LoraConfig,
  PeftModel,
  Trainer,
  TrainingArguments,
} from '../../src/index';
import type { SequenceClassification } from '../../src/models/sequence_classification';
import { peer } from '../peer';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const PAD = 258;
const LABELS = { 0: 'plus', 1: 'minus', 2: 'times' };
const tokenizer = tinyTokenizer();
const rows = Array.from({ length: 12 }, (_, i) => ({
  text: `${i} ${['+', '-', '*'][i % 3]} ${'1'.repeat(1 + (i % 4))} =`,
  label: i % 3,
}));
const ids = rows.map(({ text }) => tokenizer.encode(text));
const longest = Math.max(...ids.map((row) => row.length));
const padded = (some: number[]) => ({
  ids: some.map((i) => [...ids[i], ...Array(longest - ids[i].length).fill(PAD)]),
  mask: some.map((i) => Array.from({ length: longest }, (_, at) => Number(at < ids[i].length))),
  classes: some.map((i) => rows[i].label),
});
const load = (folder: string, options: object = {}) =>
  AutoModelForSequenceClassification.from_pretrained(folder, { progress: false, dtype: 'float32', ...options });
const logits = (model: SequenceClassification, some: number[][]) =>
  tf.tidy(() => Array.from(model.forward(tf.tensor2d(some, [some.length, longest], 'int32')).dataSync()));
const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));

interface Trained {
  losses: number[];
  norms: number[];
  eval_loss: number;
}

/** Ten steps here, and what the peer needs for the same. */
async function trainHere(folder: string, lora: boolean, options: object = {}) {
  const model = await load(folder);
  const trained = lora ? get_peft_model(model, new LoraConfig({ task_type: 'SEQ_CLS', r: 4, target_modules: 'all-linear' })) : model;
  const adapter = lora ? scratch('first') : null;
  if (adapter) await trained.save_pretrained(adapter);
  const dataset = Dataset.from_list(rows);
  const settings = { learning_rate: 5e-3, max_steps: 10, per_device_train_batch_size: 4, lr_scheduler_type: 'constant', bf16: false };
  const own = {
    output_dir: scratch('out'),
    train_sampling_strategy: 'sequential',
    save_strategy: 'no' as const,
    disable_tqdm: true,
    ...options,
  };
  const args = new TrainingArguments({ ...settings, ...own });
  const trainer = new Trainer({ model: trained, args, train_dataset: dataset, eval_dataset: dataset, processing_class: tokenizer });
  await trainer.train();
  const { eval_loss, eval_accuracy } = await trainer.evaluate();
  const [losses, norms] = [trainer.run!.series.loss, trainer.run!.series.grad_norm].map((series) => series.map(([, v]) => v));
  const task = {
    ...{ model: folder, auto: 'AutoModelForSequenceClassification', dtype: 'float32', adapter, saved: scratch('theirs') },
    ...{ lr: 5e-3, rates: losses.map(() => 5e-3), weight_decay: 0, max_grad_norm: 1 },
    batches: losses.map((_, s) => padded([0, 1, 2, 3].map((i) => (4 * s + i) % rows.length))),
    eval: rows.map((_, i) => padded([i])),
  };
  return { model, trained, task, ours: { losses, norms, eval_loss }, eval_accuracy };
}

it('a head that classifies: made, saved, opened and trained as in transformers and PEFT', async () => {
  const base = await tinyLlama(11);
  const made = await load(base, { num_labels: 3, id2label: LABELS });
  expect(made.num_labels).toBe(3);
  const folder = scratch('classifier');
  await made.save_pretrained(folder);
  expect(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))).toMatchObject({
    ...{ architectures: ['LlamaForSequenceClassification'], id2label: LABELS, label2id: { plus: 0, minus: 1, times: 2 } },
  });
  // padded on either side, and with the padding's token at its end
  const probe = padded([0, 5, 7]).ids;
  probe.push([...Array(3).fill(PAD), ...probe[1].slice(0, longest - 3)]);
  const before = logits(made, probe);
  expect(worst(peer<number[]>('saved', { model: folder, ids: probe, auto: 'AutoModelForSequenceClassification' }), before)).toBeLessThan(
    1e-4,
  );
  made.dispose();

  const runs = [await trainHere(folder, true), await trainHere(folder, false)];
  const theirs = peer<Trained[]>('trainings', { cases: runs.map(({ task }) => task) });
  for (const [i, { ours, trained, task, model, eval_accuracy }] of runs.entries()) {
    for (const [step, loss] of theirs[i].losses.entries()) {
      expect(Math.abs(ours.losses[step] - loss), `step ${step + 1}`).toBeLessThan(1e-3);
      expect(Math.abs(ours.norms[step] / theirs[i].norms[step] - 1), `gradient norm of step ${step + 1}`).toBeLessThan(5e-3);
    }
    expect(Math.abs(ours.eval_loss - theirs[i].eval_loss)).toBeLessThan(1e-3);
    expect(eval_accuracy).toBeGreaterThan(0.3);
    // what either side saved gives the same logits on the other
    const after = logits(model, probe);
    expect(worst(after, before)).toBeGreaterThan(0.01);
    const saved = scratch('ours');
    await trained.save_pretrained(saved);
    const opened = i ? { model: saved } : { model: folder, adapter: saved };
    expect(worst(peer<number[]>('saved', { ...opened, ids: probe, auto: 'AutoModelForSequenceClassification' }), after)).toBeLessThan(1e-4);
    const again = await load(i ? task.saved : folder);
    if (!i) await PeftModel.from_pretrained(again, task.saved);
    expect(worst(logits(again, probe), after)).toBeLessThan(1e-3);
    again.dispose();
    model.dispose();
  }
  const recomputed = await trainHere(folder, true, { gradient_checkpointing: true });
  expect(worst(recomputed.ours.losses, runs[0].ours.losses)).toBeLessThan(1e-4);
  const output_dir = scratch('resumed');
  await trainHere(folder, true, { output_dir, save_strategy: 'steps', save_steps: 5 });
  const resumed = await trainHere(folder, true, { resume_from_checkpoint: join(output_dir, 'checkpoint-5') });
  expect(resumed.ours).toEqual(runs[0].ours);
  const merged = (await (resumed.trained as PeftModel<SequenceClassification>).merge_and_unload({
    dtype: 'float32',
  })) as SequenceClassification;
  expect(worst(logits(merged, probe), logits(recomputed.model, probe))).toBeLessThan(1e-3);
  merged.dispose();
  recomputed.model.dispose();
});

it('what does not fit a head is said', async () => {
  const folder = await tinyLlama(11);
  const model = await load(folder, { num_labels: 3 });
  const trainer = (row: object) =>
    new Trainer({ model, train_dataset: Dataset.from_list([row as Record<string, unknown>]), processing_class: tokenizer });
  expect(() => trainer({ text: 'x', label: 3 })).toThrow(/train_dataset\[0\] has the label 3; the model knows 0 to 2/);
  expect(() => trainer({ text: 'x', label: 'good' })).toThrow(/called 'LABEL_0', 'LABEL_1', 'LABEL_2'/);
  expect(
    () =>
      new Trainer({
        model,
        args: new TrainingArguments({ sample_prompts: ['x'] }),
        train_dataset: Dataset.from_list(rows),
        processing_class: tokenizer,
      }),
  ).toThrow(/sample_prompts asks a model that writes no text/);
  expect(() => trainer({ label: 1 })).toThrow(/no input_ids and no text/);
  expect(() => get_peft_model(model, new LoraConfig())).toThrow(/for task_type 'CAUSAL_LM', but the model for 'SEQ_CLS'/);
  await expect(load(folder, { num_labels: 1 })).rejects.toThrow(/one of at least 2 classes/);
  await expect(load(folder, { num_labels: 2, id2label: LABELS })).rejects.toThrow(/num_labels is 2, but 3 labels are named/);
  const writes = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  expect(() => new Trainer({ model: writes, train_dataset: Dataset.from_list([{ text: 'x' }]), processing_class: tokenizer })).toThrow(
    /use SFTTrainer/,
  );
  expect(() => new LoraConfig({ task_type: 'TOKEN_CLS' })).toThrow(/'CAUSAL_LM' or 'SEQ_CLS'/);
  model.dispose();
  writes.dispose();
});
