import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { type Batch, collate, microBatches, textsOf } from '../../src/data/collate';
import { type Example, encodeConversation } from '../../src/data/sft';
import { take } from '../../src/engine/backend';
import { withPrecision } from '../../src/engine/precision';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, get_peft_model, LoraConfig, type PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { ForwardOptions } from '../../src/models/decoder';
import type { LoraOptions } from '../../src/peft/lora';
import { TRAINING_DEFAULTS, type TrainingOptions } from '../../src/train/config';
import type { Objective } from '../../src/train/objective';
import { dft } from '../../src/train/objectives/dft';
import { Trainer } from '../../src/train/trainer';
import { peer } from '../peer';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

interface Pair {
  chosen: Example;
  rejected: Example;
}
const BETA = 0.5;

/** Log-probabilities of the trained tokens of each text, [texts]. */
const ofTexts = (model: PeftModel<CausalLM>, { ids, positions, labels, textOf, ends }: Batch, forward: ForwardOptions, gradient: boolean) =>
  tf.unsortedSegmentSum(
    tf.neg(model.base_model.losses(ids, positions, labels, forward, gradient)),
    tf.tensor1d(textOf, 'int32'),
    ends.length,
  );

/** Direct preference optimization (Rafailov et al., 2023): an objective of pairs, whose reference is the model without its adapter. */
function preference(): Objective<Pair, PeftModel<CausalLM>> {
  const reference = new WeakMap<Pair, Float32Array>();
  const texts = ({ chosen, rejected }: Pair) => [chosen, rejected].flatMap(textsOf);
  return {
    texts,
    weight: () => 1,
    prepare: (model, rows, precision) =>
      model.disable_adapter(async () => {
        for (const row of rows) {
          if (reference.has(row)) continue;
          const batch = () => collate([row], texts);
          const sums = tf.tidy(() => withPrecision(precision, () => ofTexts(model, batch(), { layout: batch().layout }, false)));
          reference.set(row, await take(sums));
        }
      }),
    loss(model, batch, { factor, gradient, forward }) {
      const before = tf.tensor1d(batch.rows.flatMap((row) => [...(reference.get(row) as Float32Array)]));
      const rewards = tf.reshape(tf.mul(tf.sub(ofTexts(model, batch, forward, gradient), before), BETA), [-1, 2]);
      const margins = tf.sum(tf.mul(rewards, tf.tensor2d([[1, -1]])), 1);
      const sum = (x: tf.Tensor) => tf.mul(tf.sum(x), factor) as tf.Scalar;
      return {
        loss: sum(tf.softplus(tf.neg(margins))),
        metrics: { 'rewards/accuracies': sum(tf.cast(tf.greater(margins, 0), 'float32')), 'rewards/margins': sum(margins) },
      };
    },
  };
}

const tokenizer = tinyTokenizer();
const rowOf = (question: string, answer: string) => encodeConversation(chatRow(question, answer).messages, tokenizer, true);
const pairs: Pair[] = Array.from({ length: 12 }, (_, i) => ({
  chosen: rowOf(`What is ${i} plus ${i}?`, `It is ${2 * i}.`),
  rejected: rowOf(`What is ${i} plus ${i}?`, `${'I do not know. '.repeat(1 + (i % 3))}`),
}));
let folder: string;

beforeAll(async () => {
  folder = await tinyLlama(3);
});

async function make(options: Partial<TrainingOptions> = {}, lora: Partial<LoraOptions> = { target_modules: 'all-linear' }) {
  const model = get_peft_model(
    await AutoModelForCausalLM.from_pretrained(folder, { progress: false }),
    new LoraConfig({ r: 4, lora_alpha: 8, init_lora_weights: false, ...lora }),
  );
  const args: TrainingOptions = {
    ...TRAINING_DEFAULTS,
    ...{ output_dir: scratch('preference'), disable_tqdm: true, save_strategy: 'no', max_steps: 6, per_device_train_batch_size: 4 },
    ...{ learning_rate: 5e-3, lr_scheduler_type: 'constant', train_sampling_strategy: 'sequential', bf16: false, logging_steps: 3 },
    ...options,
  };
  const objective = preference();
  return new Trainer({ model, args, objective, train: pairs, eval: pairs.slice(0, 5), tokenizer, prompts: [] });
}
const series = (trainer: Awaited<ReturnType<typeof make>>, name: string) => (trainer.run?.series[name] ?? []).map(([, v]) => v);

const ADAPTERS: Record<string, Partial<LoraOptions>> = {
  'all linear layers': { target_modules: 'all-linear' },
  'an adapted head': { target_modules: ['q_proj', 'lm_head'] },
  'a head that is trained whole': { target_modules: ['q_proj'], modules_to_save: ['lm_head'] },
};

it('an objective of pairs trains as it does in torch with PEFT, beside any head', async () => {
  const made: Awaited<ReturnType<typeof make>>[] = [];
  const cases: object[] = [];
  for (const lora of Object.values(ADAPTERS)) {
    const trainer = await make({ eval_strategy: 'steps', eval_steps: 6 }, lora);
    const adapter = scratch('adapter');
    await trainer.model.save_pretrained(adapter);
    await trainer.train();
    const batches = Array.from({ length: 6 }, (_, step) => pairs.slice((4 * step) % 12, ((4 * step) % 12) + 4));
    cases.push({ model: folder, adapter, beta: BETA, lr: 5e-3, batches, eval: pairs.slice(0, 5) });
    made.push(trainer);
  }
  const all = peer<{ steps: number[][]; eval: number[] }[]>('preference', { cases }, 'peer_train.py');
  for (const [at, name] of Object.keys(ADAPTERS).entries()) {
    const [trainer, theirs] = [made[at], all[at]];
    const ours = ['loss', 'grad_norm', 'rewards/accuracies', 'rewards/margins'].map((figure) => series(trainer, figure));
    for (const [step, figures] of theirs.steps.entries())
      for (const [i, figure] of figures.entries())
        expect(Math.abs(ours[i][step] - figure), `${name}: ${step}, ${i}`).toBeLessThan(1e-3 * Math.max(1, figure));
    expect(series(trainer, 'eval_loss')[0], name).toBeCloseTo(theirs.eval[0], 3);
    expect(series(trainer, 'eval_rewards/accuracies'), name).toEqual([expect.closeTo(theirs.eval[1], 6)]);
    const logs = trainer.state.log_history.filter((entry) => 'loss' in entry);
    const means = [0, 3].map((from) => ours[3].slice(from, from + 3).reduce((sum, v) => sum + v / 3, 0));
    expect(logs.map((entry) => entry['rewards/margins'])).toEqual(means.map((mean) => expect.closeTo(mean, 6)));
  }
});

it("loss_type 'dft' learns as TRL's does in torch with PEFT, beside any head", async () => {
  const ours: number[][][] = [];
  const cases: object[] = [];
  const rows = pairs.map(({ chosen }) => chosen);
  for (const lora of Object.values(ADAPTERS)) {
    const { model, args } = await make({}, lora);
    const adapter = scratch('adapter');
    await model.save_pretrained(adapter);
    const trainer = new Trainer({ model, args, objective: dft, train: rows, eval: rows.slice(0, 5), tokenizer, prompts: [] });
    await trainer.train();
    expect(Object.keys(await trainer.evaluate())).toContain('eval_loss');
    const [loss, norm] = [trainer.run!.series.loss, trainer.run!.series.grad_norm];
    ours.push(loss.map(([, value], i) => [value, norm[i][1]]));
    const batches = Array.from({ length: 6 }, (_, step) => rows.slice((4 * step) % 12, ((4 * step) % 12) + 4));
    cases.push({ model: folder, adapter, lr: 5e-3, batches });
  }
  const theirs = peer<number[][][]>('dft', { cases }, 'peer_train.py');
  for (const [i, name] of Object.keys(ADAPTERS).entries())
    for (const [step, figures] of theirs[i].entries())
      for (const [k, figure] of figures.entries())
        expect(Math.abs(ours[i][step][k] - figure), `${name}: ${step}, ${k}`).toBeLessThan(1e-3 * Math.max(1, figure));
});

it('a pair is never split, and what its step comes to depends on no split, recomputation or interruption', async () => {
  const { texts } = preference();
  for (const tokens of [1, 100, 300, 10_000]) {
    const groups = microBatches(pairs, texts, tokens);
    expect(groups.flat()).toEqual(pairs);
    for (const group of groups) {
      const { rowOf, ends, ids } = collate(group, texts);
      expect(rowOf).toEqual(group.flatMap((_, row) => [row, row]));
      // The last token that is read of each text: the one before its last label.
      const last = group.flatMap(({ chosen, rejected }) => [chosen, rejected].map((e) => e.input_ids[e.trained.lastIndexOf(true) - 1]));
      expect(ends.map((at) => ids.dataSync()[at])).toEqual(last);
    }
  }
  const whole = await make({ save_strategy: 'steps', save_steps: 2, per_device_train_batch_size: 12 });
  await whole.train();
  for (const options of [
    { per_device_train_batch_size: 3, gradient_accumulation_steps: 4 },
    { gradient_checkpointing: true, memory_limit: 1 },
  ]) {
    const other = await make({ per_device_train_batch_size: 12, ...options });
    await other.train();
    for (const name of ['loss', 'rewards/accuracies', 'rewards/margins', 'grad_norm'])
      for (const [i, value] of series(other, name).entries()) expect(Math.abs(value - series(whole, name)[i]), name).toBeLessThan(1e-4);
  }
  const again = await make({ output_dir: whole.args.output_dir, per_device_train_batch_size: 12 });
  await again.train({ resume_from_checkpoint: join(whole.args.output_dir, 'checkpoint-2') });
  for (const name of ['loss', 'rewards/margins']) expect(series(again, name)).toEqual(series(whole, name));
  // The last entry is of what was trained since it was resumed, as in transformers.
  expect(again.state.log_history.slice(0, -1)).toEqual(whole.state.log_history.slice(0, -1));
});
