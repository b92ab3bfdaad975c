import { expect } from 'vitest';
import { Random } from '../../src/core/random';
import { type Example, prepareSft } from '../../src/data/sft';
import { AutoModelForCausalLM, type BitsAndBytesConfig, type Dataset, LoraConfig, SFTConfig, SFTTrainer } from '../../src/index';
import type { LoraOptions } from '../../src/peft/lora';
import type { PeftConfig } from '../../src/peft/method';
import type { Tokenizer } from '../../src/tokenizers/tokenizer';
import { rateFactor } from '../../src/train/schedules';
import { peer } from '../peer';
import { scratch } from '../tiny';

/** Rows as Python's side takes them: padded on the right, labels -100 where nothing is learned. */
function padded(rows: Example[]) {
  const longest = Math.max(...rows.map((r) => r.input_ids.length));
  const fill = (values: number[], pad: number) => [...values, ...Array(longest - values.length).fill(pad)];
  return {
    ids: rows.map((r) => fill(r.input_ids, 0)),
    mask: rows.map((r) =>
      fill(
        r.input_ids.map(() => 1),
        0,
      ),
    ),
    labels: rows.map((r) =>
      fill(
        r.input_ids.map((id, i) => (r.trained[i] ? id : -100)),
        -100,
      ),
    ),
  };
}

export interface Setting {
  /** Where both sides load the model from. */
  path: string;
  tokenizer: Tokenizer;
  train: Dataset;
  test?: Dataset;
  steps: number;
  dtype: 'float32' | 'bfloat16';
  lr?: number;
  /** Train all weights, without an adapter. */
  full?: boolean;
  /** Other options of the LoRA adapter. */
  lora?: Partial<LoraOptions>;
  /** Another adapter than LoRA's. */
  peft?: PeftConfig;
  /** How the base is packed here, and a folder with the same weights for Python's side. */
  packed?: { quantization_config: BitsAndBytesConfig; folder: string };
}

interface Trained {
  losses: number[];
  norms: number[];
  eval_loss: number;
}

/** The same adapter (or weights), data, batches and schedule here and in PEFT. */
export async function trainBoth(settings: Setting[]): Promise<{ ours: Trained; theirs: Trained }[]> {
  const ours: Trained[] = [];
  const cases: object[] = [];
  for (const setting of settings) {
    const { result, task } = await trainHere(setting);
    ours.push(result);
    cases.push(task);
  }
  return peer<Trained[]>('trainings', { cases }).map((theirs, i) => ({ ours: ours[i], theirs }));
}

async function trainHere({ path, tokenizer, train, test, steps, dtype, lr = 5e-4, full, lora, peft, packed }: Setting) {
  const { quantization_config = null, folder = path } = packed ?? {};
  const model = await AutoModelForCausalLM.from_pretrained(path, {
    progress: false,
    dtype: full ? 'float32' : 'auto',
    quantization_config,
  });
  if (packed) await model.save_pretrained(folder);
  const warmup_steps = 3;
  const args = new SFTConfig({
    output_dir: scratch('interop'),
    learning_rate: lr,
    per_device_train_batch_size: 2,
    max_steps: steps,
    warmup_steps,
    lr_scheduler_type: 'cosine',
    weight_decay: 0.01,
    assistant_only_loss: true,
    save_strategy: 'no',
    bf16: dtype === 'bfloat16',
    disable_tqdm: true,
  });
  const usual = () => new LoraConfig({ r: 16, lora_alpha: 32, target_modules: 'all-linear', ...lora });
  const peft_config = full ? null : (peft ?? usual());
  const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: train, eval_dataset: test, peft_config, args });
  const adapter = full ? null : scratch('initial');
  if (adapter) await trainer.model.save_pretrained(adapter);
  const format = { max_length: 1024, assistant_only_loss: true, completion_only_loss: null, dataset_text_field: 'text' };
  const rows = prepareSft(train, tokenizer, format).examples;
  const perEpoch = Math.ceil(rows.length / 2);
  const batches = Array.from({ length: steps }, (_, s) => {
    const order = Random.seeded(args.seed, Math.floor(s / perEpoch)).shuffled(rows.map((_, i) => i));
    const from = 2 * (s % perEpoch);
    return padded(order.slice(from, from + 2).map((i) => rows[i]));
  });
  await trainer.train();
  const task = {
    model: folder,
    dtype,
    adapter,
    batches,
    eval: test ? prepareSft(test, tokenizer, format).examples.map((row) => padded([row])) : [],
    lr: args.learning_rate,
    rates: batches.map((_, s) => args.learning_rate * rateFactor(args, { warmup: warmup_steps, total: steps })(s)),
    weight_decay: args.weight_decay,
    max_grad_norm: args.max_grad_norm,
  };
  const { loss, grad_norm } = trainer.run!.series;
  const eval_loss = test ? (await trainer.evaluate()).eval_loss : 0;
  model.dispose();
  return { result: { losses: loss.map((p) => p[1]), norms: grad_norm.map((p) => p[1]), eval_loss }, task };
}

/** Each loss within 1e-3 of Python's, and each gradient norm within 0.5 %. */
export function expectSameTraining({ ours, theirs }: { ours: Trained; theirs: Trained }, what = 'PEFT'): void {
  for (const [i, loss] of theirs.losses.entries()) {
    expect(Math.abs(ours.losses[i] - loss), `step ${i + 1}: ${ours.losses[i]} here, ${loss} in ${what}`).toBeLessThan(1e-3);
    expect(Math.abs(ours.norms[i] / theirs.norms[i] - 1), `gradient norm of step ${i + 1}`).toBeLessThan(5e-3);
  }
}
