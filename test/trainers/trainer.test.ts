// Trainer: a head that classifies, figures of one's own from its logits.
import { expect, it } from 'vitest';
import { load as metricOf } from '../../src/evaluate/metrics';
import { AutoModelForSequenceClassification, Dataset, get_peft_model, LoraConfig, Trainer, TrainingArguments, tf } from '../../src/index';
import { groupsOf } from '../../src/train/groups';
import { scratch } from '../tiny';
import { tinyModel, tokenizer } from '../train/small_runs';

const rows = Dataset.from_list(Array.from({ length: 6 }, (_, i) => ({ text: `row ${i}`, label: i % 2 })));
const make = async (given: Record<string, unknown>, args: Record<string, unknown> = {}) => {
  const model = await AutoModelForSequenceClassification.from_pretrained(await tinyModel(), { progress: false, num_labels: 2 });
  const worn = get_peft_model(model, new LoraConfig({ r: 2, task_type: 'SEQ_CLS', target_modules: ['q_proj'] }));
  return new Trainer({
    model: worn,
    processing_class: tokenizer,
    train_dataset: rows,
    eval_dataset: rows,
    args: new TrainingArguments({
      ...{ output_dir: scratch('classes'), disable_tqdm: true, max_steps: 2, report_to: [], save_strategy: 'no' },
      ...args,
    }),
    ...given,
  } as never);
};

it('compute_metrics gets logits and labels by row, or what was made of them', async () => {
  const seen: { predictions: number[][] | number[]; label_ids: number[] }[] = [];
  const accuracy = metricOf('accuracy');
  const compute_metrics = (given: (typeof seen)[number]) => {
    seen.push(given);
    const said = given.predictions.map((row) => (typeof row === 'number' ? row : row.indexOf(Math.max(...row))));
    return accuracy.compute({ predictions: said, references: given.label_ids }) as Record<string, number>;
  };
  const plain = await make({ compute_metrics });
  const made = await plain.evaluate();
  const less = await make({ compute_metrics, preprocess_logits_for_metrics: (logits: tf.Tensor) => tf.argMax(logits, -1) });
  expect((await less.evaluate()).eval_accuracy).toBe(made.eval_accuracy);
  const [{ predictions, label_ids }, { predictions: indices }] = seen;
  expect(label_ids).toEqual([0, 1, 0, 1, 0, 1]);
  expect(predictions.map((row) => (row as number[]).length)).toEqual([2, 2, 2, 2, 2, 2]);
  expect(indices).toEqual((predictions as number[][]).map((row) => row.indexOf(Math.max(...row))));
  for (const { model } of [plain, less]) (model as unknown as { unload(): void }).unload();
});

it('what compute_metrics may not return is told', async () => {
  const wrong = async (returned: unknown) => {
    const trainer = await make({ compute_metrics: () => returned });
    return trainer.evaluate().finally(() => (trainer.model as unknown as { unload(): void }).unload());
  };
  await expect(wrong({ accuracy: 'high' })).rejects.toThrow(/must return numbers by name, .*accuracy is 'high'/);
  await expect(wrong(3)).rejects.toThrow(/must return numbers by name, .*returned 3/);
  const thrown = await make({
    compute_metrics: () => {
      throw new Error('mine');
    },
  });
  await expect(thrown.evaluate()).rejects.toThrow(/mine/);
});

it('labels that are no class are refused', async () => {
  const of = (label: unknown) =>
    make({
      train_dataset: Dataset.from_list([
        { text: 'a', label },
        { text: 'b', label: 1 },
      ]),
    });
  await expect(of(Number.NaN).then((t) => t.train())).rejects.toThrow(/label/);
  await expect(of(7).then((t) => t.train())).rejects.toThrow(/label.*7/s);
});

it("nothing decays of DoRA's magnitudes, norms and biases; all else does", async () => {
  const model = await AutoModelForSequenceClassification.from_pretrained(await tinyModel(), { progress: false, num_labels: 2 });
  const worn = get_peft_model(model, new LoraConfig({ r: 2, use_dora: true, task_type: 'SEQ_CLS', target_modules: ['q_proj'] }));
  const of = groupsOf(new TrainingArguments({ output_dir: 'x', weight_decay: 0.1 }) as never, worn as never);
  const decays = (name: string) => of(name).weight_decay > 0;
  const names = [...worn.namedParameters().keys()];
  expect(names.some((name) => name.includes('lora_magnitude_vector'))).toBe(true);
  for (const name of names) expect(decays(name), name).toBe(!name.includes('lora_magnitude_vector'));
  worn.unload();
});
