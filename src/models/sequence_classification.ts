import { DataError, FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { checkNumber, show } from '../core/options';
import { Random } from '../core/random';
import type { Text } from '../data/collate';
import * as tf from '../engine/tf';
import { Linear, Parameter } from '../nn';
import type { ModelConfig } from './config';
import type { Decoder, ForwardOptions } from './decoder';
import { type LoadOptions, loadModel } from './loading';
import { PretrainedModel } from './pretrained';
import type { WeightSource } from './source';
import type { Task } from './task';

type Labels = Record<number, string>;
interface LabelOptions {
  /** How many classes there are; null: as many as are named, as the model's files say, or two. Default: null. */
  num_labels: number | null;
  /** Names of the classes by their numbers; null: as the model's files say, or LABEL_0, LABEL_1 and so on. Default: null. */
  id2label: Labels | null;
  /** The same the other way round: numbers by names. Default: null. */
  label2id: Record<string, number> | null;
}
interface Labelled {
  input_ids: number[];
  label: number;
}
const SCORE = 'score.weight';

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The labels by number: those that a call names or counts, else those of config.json, else two. */
function labelsOf(config: ModelConfig, { num_labels: count, id2label: given, label2id: numbers }: LabelOptions): Labels {
  const owner = 'AutoModelForSequenceClassification.from_pretrained';
  if (count !== null) checkNumber(owner, 'num_labels', count, { integer: true, min: 1 }, 'It is the number of classes.');
  const turned = numbers && Object.fromEntries(Object.entries(numbers).map(([label, id]) => [id, label]));
  const named = given ?? turned ?? config.id2label;
  const labels = isObject(named) ? Object.values({ ...named } as Labels) : undefined;
  if ((given || turned) && count !== null && labels?.length !== count)
    throw new OptionError(`${owner}: num_labels is ${count}, but ${labels?.length} labels are named: ${show(named)}.`);
  const n = count ?? labels?.length ?? (config.num_labels as number | undefined) ?? 2;
  return { ...(labels?.length === n ? labels : Array.from({ length: n }, (_, i) => `LABEL_${i}`)) };
}

/** A decoder that says which of some classes a text is of, by the state of its last token that is no padding. */
export class SequenceClassification<D extends Decoder = Decoder> extends PretrainedModel<D> {
  static readonly suffix = 'ForSequenceClassification';
  static readonly options: LabelOptions & Record<string, unknown> = { num_labels: null, id2label: null, label2id: null };
  static readonly elsewhere = /^(model\.)?lm_head\./;
  readonly task_type = 'SEQ_CLS';

  constructor(
    config: ModelConfig,
    decoder: D,
    readonly score: Linear,
  ) {
    super(config, decoder);
  }

  static async load(
    decoder: Decoder,
    { num_labels, ...config }: ModelConfig,
    source: WeightSource,
    options: Record<string, unknown>,
  ): Promise<SequenceClassification> {
    const id2label = labelsOf({ ...config, num_labels } as ModelConfig, options as unknown as LabelOptions);
    const [count, type] = [Object.keys(id2label).length, config.problem_type ?? 'single_label_classification'];
    if (count < 2 || type !== 'single_label_classification')
      throw new FileError(
        `${config._name_or_path}: ${count} label${count > 1 ? 's' : ''} and problem_type ${show(type)}: tunebook classifies into one of at least 2 classes (single_label_classification). Set num_labels.`,
      );
    const label2id = Object.fromEntries(Object.entries(id2label).map(([id, label]) => [label, Number(id)]));
    const shape = [count, config.hidden_size as number];
    const found = source.has(SCORE);
    if (!found)
      warnOnce(
        `${source.description} has no ${SCORE}: a new one is drawn for ${count} labels. Train the model before it is asked anything.`,
      );
    const random = Random.seeded(42);
    const fresh = () => {
      const spread = (config.initializer_range as number | undefined) ?? 0.02;
      return new Parameter(
        tf.keep(
          tf.tensor(
            Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal() * spread),
            shape,
          ),
        ),
        false,
      );
    };
    const score = new Linear(found ? await source.parameter(SCORE, shape) : fresh());
    return new SequenceClassification({ ...config, id2label, label2id } as unknown as ModelConfig, decoder, score);
  }

  get num_labels(): number {
    return this.score.outFeatures;
  }

  /** The place of the last token that is no padding; as in transformers the first where there is none. */
  private lastOf(ids: number[]): number {
    const { pad_token_id: pad = null } = this.config;
    return pad === null
      ? ids.length - 1
      : Math.max(
          0,
          ids.findLastIndex((id) => id !== pad),
        );
  }

  /** Logits of the texts that end at these flat indices into [batch * seq]: [ends, labels] */
  private logitsAt(ids: tf.Tensor2D, ends: number[], options?: ForwardOptions): tf.Tensor2D {
    return this.score.forward(this.hiddenAt(ids, ends, options)) as tf.Tensor2D;
  }

  /** Logits of each row, which may be padded on either side by pad_token_id: ids int32 [batch, seq] -> [batch, labels] */
  forward(ids: tf.Tensor2D): tf.Tensor2D {
    const seq = ids.shape[1];
    const ends = ids.arraySync().map((row, i) => i * seq + this.lastOf(row));
    return tf.tidy(() => this.logitsAt(ids, ends));
  }

  /** Rows of {input_ids, label} or {text, label} (also `labels`); a label may be its name. Cross-entropy, the share that is right. */
  override get task(): Task<Labelled> {
    return {
      row: ({ input_ids, text, label, labels = label }, tokenizer, where) => {
        const ids = Array.isArray(input_ids) ? (input_ids as number[]) : typeof text === 'string' ? tokenizer.encode(text) : [];
        if (!ids.length) throw new DataError(`${where} has no input_ids and no text to read: ${show({ input_ids, text })}.`);
        const id = typeof labels === 'string' ? (this.config.label2id as Record<string, number>)[labels] : (labels as number);
        if (!Number.isInteger(id) || id < 0 || id >= this.num_labels)
          throw new DataError(
            `${where} has the label ${show(labels)}; the model knows 0 to ${this.num_labels - 1}, called ${Object.values(
              this.config.id2label as Labels,
            )
              .map(show)
              .join(', ')}.`,
          );
        return { input_ids: ids, label: id };
      },
      texts: ({ input_ids }): Text[] => [
        { read: input_ids.slice(0, this.lastOf(input_ids) + 1), input_ids, trained: input_ids.map(() => false) },
      ],
      weight: () => 1,
      predict: ({ input_ids }) => {
        const ids = tf.tensor2d(input_ids, [1, input_ids.length], 'int32');
        return tf.reshape(this.logitsAt(ids, [this.lastOf(input_ids)], { layout: { lengths: [input_ids.length] } }), [-1]);
      },
      label: ({ label }) => label,
      loss: ({ ids, ends, rows }, { factor, smoothing = 0, forward }) => {
        const logits = this.logitsAt(ids, ends, forward);
        const labels = tf.tensor1d(
          rows.map(({ label }) => label),
          'int32',
        );
        const wanted = tf.add(tf.mul(tf.oneHot(labels, this.num_labels), 1 - smoothing), smoothing / this.num_labels);
        const picked = tf.sum(tf.mul(logits, wanted), -1);
        const sum = (x: tf.Tensor) => tf.mul(tf.sum(x), factor) as tf.Scalar;
        const right = tf.cast(tf.equal(tf.argMax(logits, -1), labels), 'float32');
        return { loss: sum(tf.sub(tf.logSumExp(logits, -1), picked)), metrics: { accuracy: sum(right) } };
      },
    };
  }
}

/** Models that say which of some classes a text is of: `from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct', { num_labels: 3 })`. */
export class AutoModelForSequenceClassification {
  /** Loads a model that classifies texts, by Hub id or path; a model without such a head gets a new one of `num_labels` classes. */
  static from_pretrained(
    nameOrPath: string,
    options: Partial<LoadOptions & LabelOptions> & Record<string, unknown> = {},
  ): Promise<SequenceClassification> {
    return loadModel(SequenceClassification, nameOrPath, options);
  }
}
