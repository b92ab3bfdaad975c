import { inspect } from 'node:util';
import { OptionError } from '../core/errors';
import { readOptions } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import type { Dataset, Row } from '../data/dataset';
import { type DatasetDict, datasetOf } from '../data/load_dataset';
import type { PretrainedModel } from '../models/pretrained';
import { baseOf, PeftModel } from '../peft/model';
import { Tokenizer } from '../tokenizers/tokenizer';
import type { CallbackLike } from '../train/callbacks/callback';
import { type GivenOptions, TRAINING_ALIASES, TRAINING_DEFAULTS, type TrainingOptions, trainingOptions } from '../train/config';
import type { TrainedModel } from '../train/gradients';
import { withoutToken } from '../train/hub_options';
import type { ComputeMetrics, PreprocessLogits } from '../train/predictions';
import { Trainer as Loop } from '../train/trainer';

export interface TrainingArguments extends TrainingOptions {}

/** Options of a training run under transformers' names, with its defaults. */
export class TrainingArguments {
  constructor(options: GivenOptions<TrainingOptions> = {}) {
    Object.assign(this, trainingOptions('TrainingArguments', options, TRAINING_DEFAULTS, TRAINING_ALIASES));
  }

  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    return optionsShown('TrainingArguments', withoutToken(this), TRAINING_DEFAULTS);
  }
}

/** What a Trainer is made of. */
export interface TrainerOptions {
  /** The model to train, from AutoModelForSequenceClassification.from_pretrained, with an adapter or without. Needed. Default: null. */
  model: TrainedModel | null;
  /** How it is trained; null: with all defaults. Default: null. */
  args: TrainingArguments | null;
  /** Rows of {text, label}, from load_dataset or Dataset.from_list. Needed. Default: null. */
  train_dataset: Dataset | DatasetDict | Row[] | null;
  /** Rows that are not trained on, by which evaluations measure; null: none. Default: null. */
  eval_dataset: Dataset | DatasetDict | Row[] | null;
  /** The model's tokenizer, from AutoTokenizer.from_pretrained. Needed. Default: null. */
  processing_class: Tokenizer | null;
  /** Called beside the trainer's own: instances or classes of TrainerCallback, or objects of hooks. Default: null. */
  callbacks: CallbackLike[] | null;
  /** Figures of what the model says of the evaluation rows: ({ predictions, label_ids }) => ({ accuracy: ... }). Default: null. */
  compute_metrics: ComputeMetrics | null;
  /** Makes less of each row's logits before compute_metrics gets them. Default: null. */
  preprocess_logits_for_metrics: PreprocessLogits | null;
}

const PARTS: TrainerOptions = {
  model: null,
  args: null,
  train_dataset: null,
  eval_dataset: null,
  processing_class: null,
  callbacks: null,
  compute_metrics: null,
  preprocess_logits_for_metrics: null,
};

/** Trains what a model's head learns, as transformers' Trainer: the whole model, or an adapter (get_peft_model) around it. */
export class Trainer<M extends TrainedModel = PeftModel<PretrainedModel>> extends Loop<M, unknown> {
  constructor(options: Partial<TrainerOptions> & Record<string, unknown>) {
    const o = readOptions<TrainerOptions>('Trainer', options, PARTS, { tokenizer: { to: 'processing_class' } });
    if (!o.model) throw new OptionError('Trainer needs a model: await AutoModelForSequenceClassification.from_pretrained(...), say.');
    const { processing_class: tokenizer, model } = o;
    if (!(tokenizer instanceof Tokenizer))
      throw new OptionError('Trainer needs processing_class: await AutoTokenizer.from_pretrained(...).');
    if (!o.train_dataset) throw new OptionError('Trainer needs a train_dataset: rows from load_dataset or Dataset.from_list.');
    const train_dataset = datasetOf('Trainer', 'train_dataset', o.train_dataset);
    if (!train_dataset.length)
      throw new OptionError('Trainer: the train_dataset has no rows. Look at the file or filter that it came from.');
    const eval_dataset = o.eval_dataset && datasetOf('Trainer', 'eval_dataset', o.eval_dataset);
    const { task } = baseOf<PretrainedModel>(model);
    if (!task)
      throw new OptionError('Trainer trains heads that know their labels. For a model that predicts the next token use SFTTrainer.');
    const args = o.args instanceof TrainingArguments ? o.args : new TrainingArguments(o.args ?? {});
    if (args.sample_prompts.length)
      throw new OptionError('TrainingArguments: sample_prompts asks a model that writes no text. Leave it out.');
    const prepared = (rows: Dataset, name: string) => [...rows].map((row, i) => task.row(row, tokenizer, `${name}[${i}]`));
    const train = prepared(train_dataset, 'train_dataset');
    const test = eval_dataset ? prepared(eval_dataset, 'eval_dataset') : undefined;
    if (!(model instanceof PeftModel) && !model.namedParameters().size) {
      const packed = model.packedWeight();
      if (packed)
        throw new OptionError(
          `Trainer: this model's weights are packed (${packed.name} as ${packed.format}) and cannot be trained themselves. Put an adapter beside them: get_peft_model(model, new LoraConfig({ task_type: '${model.task_type}' })).`,
        );
      model.requires_grad_();
    }
    super({
      model: model as M,
      args,
      objective: {
        texts: task.texts,
        weight: task.weight,
        loss: (_, batch, options) => task.loss(batch, options),
        predict: (_, row) => task.predict(row),
        labels: task.label,
        figures: ['eval_loss', 'eval_accuracy'],
      },
      train,
      eval: test,
      tokenizer,
      prompts: [],
      callbacks: o.callbacks ?? [],
      compute_metrics: o.compute_metrics,
      preprocess_logits_for_metrics: o.preprocess_logits_for_metrics,
    });
  }
}
