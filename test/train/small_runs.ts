import { AutoModelForCausalLM, Dataset, LoraConfig, SFTConfig, SFTTrainer, type TrainerCallback } from '../../src/index';
import { newRun } from '../../src/train/run';
import { peer } from '../peer';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

export const tokenizer = tinyTokenizer();
const rows = Dataset.from_list(Array.from({ length: 8 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`)));
let folder: Promise<string> | undefined;

/** The folder of a tiny model, the same for all. */
export const tinyModel = (): Promise<string> => {
  folder ??= tinyLlama(3);
  return folder;
};

/** A trainer of a few steps with these callbacks. */
export async function make(
  callbacks: unknown[],
  args: Record<string, unknown> = {},
  train_dataset = rows,
  evaluates = true,
  compute_metrics: (() => Record<string, number>) | null = null,
): Promise<SFTTrainer> {
  const config = { disable_tqdm: true, assistant_only_loss: true, learning_rate: 1e-2, save_strategy: 'no' as const, max_steps: 6 };
  return new SFTTrainer({
    model: await AutoModelForCausalLM.from_pretrained(await tinyModel(), { progress: false }),
    processing_class: tokenizer,
    train_dataset,
    eval_dataset: evaluates ? rows.select([0, 1]) : null,
    peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
    args: new SFTConfig({ ...config, output_dir: scratch('out'), per_device_train_batch_size: 4, ...args }),
    callbacks: callbacks as TrainerCallback[],
    compute_metrics,
  });
}

export interface Evaluations {
  args: Record<string, unknown>;
  /** By transformers' names, with their options. */
  callbacks: Record<string, object>;
  evaluations: Record<string, number>[];
}
type After = [best: number | null, step: number | null, stops: boolean, states: object[]];

/** What callbacks make of evaluations, here and in transformers: after each the best metric, its step, whether training is to stop, states. */
export async function evaluated(cases: Evaluations[], kinds: Record<string, new (options: object) => TrainerCallback>) {
  const theirs = peer<After[][]>('evaluations', { folder: await tinyModel(), cases }, 'peer_train.py');
  const ours: After[][] = [];
  for (const { args, callbacks, evaluations } of cases) {
    const given = Object.entries(callbacks).map(([name, options]) => new kinds[name](options));
    const trainer = await make(given, { eval_strategy: 'steps', eval_steps: 1, ...args }, undefined, true, () => ({ accuracy: 0 }));
    const { state, control, callback_handler: handler } = trainer;
    const context = { model: trainer.model, processing_class: tokenizer, train_dataset: [], trainer, logs: {}, metrics: {} };
    const run = newRun('r', 'out', 100, {});
    await handler.call('on_train_begin', trainer.args, state, control, { ...context, run });
    const after: After[] = [];
    for (const metrics of evaluations) {
      state.global_step++;
      await handler.call('on_evaluate', trainer.args, state, control, { ...context, run, metrics });
      after.push([state.best_metric, state.best_global_step, control.should_training_stop, given.map((c) => c.state?.() as object)]);
    }
    ours.push(after);
  }
  return { ours, theirs };
}
