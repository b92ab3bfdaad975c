import { OptionError } from '../core/errors';
import { emit } from '../core/events';
import { readOptions } from '../core/options';
import { type Audited, auditOf } from '../data/audit';
import { Dataset, type Row } from '../data/dataset';
import { IterableDataset } from '../data/iterable_dataset';
import { type DatasetDict, datasetOf } from '../data/load_dataset';
import type { AnyData, SftData } from '../data/row_types';
import type { Example, Prepared } from '../data/sft';
import { askedOf } from '../models/asked';
import type { CausalLM } from '../models/causal_lm';
import { clone_chat_template } from '../models/chat_setup';
import { takeOff } from '../peft/hold';
import type { PeftConfig } from '../peft/method';
import { baseOf, get_peft_model, PeftModel } from '../peft/model';
import { Tokenizer } from '../tokenizers/tokenizer';
import type { CallbackLike } from '../train/callbacks/callback';
import { Answers } from '../train/generated';
import { withoutToken } from '../train/hub_options';
import type { ComputeMetrics, PreprocessLogits } from '../train/predictions';
import { lengthOfRun, newState, type TrainOutput } from '../train/state';
import { Trainer } from '../train/trainer';
import {
  arranged,
  auditRows,
  checkTrainable,
  type FormattingFunc,
  isTemplateFile,
  prepareRows,
  promptsOf,
  type Relabel,
  setUp,
  type TrainerRows,
  tokenised,
} from './prepare';
import { partsOf, splitConfig } from './run_config';
import { readYaml, readYamlFile, runYaml, takeEnv } from './run_yaml';
import { OBJECTIVES, SFT_DEFAULTS, SFT_NAMES, SFTConfig } from './sft_config';
import { rowsWanted, takeRows } from './stream_rows';

/** What an SFTTrainer is made of. */
export interface SFTTrainerOptions<R extends object = Row, F extends string = 'text'> {
  /** The model to train, from AutoModelForCausalLM.from_pretrained, or one that get_peft_model has put an adapter beside. Needed. Default: null. */
  model: CausalLM | PeftModel<CausalLM> | null;
  /** How it is trained; null: with all defaults. Default: null. */
  args: SFTConfig<F> | null;
  /** Rows of {messages}, {prompt, completion} or {text}, from load_dataset or Dataset.from_list; of a stream as many as max_steps takes. Needed. Default: null. */
  train_dataset: SftData<R, F> | DatasetDict | Row[] | null;
  /** Rows that are not trained on, by which evaluations measure; null: none. Default: null. */
  eval_dataset: SftData<R, F> | DatasetDict | Row[] | null;
  /** The model's tokenizer, from AutoTokenizer.from_pretrained. Needed. Default: null. */
  processing_class: Tokenizer | null;
  /** The adapter to put beside the model (new LoraConfig({ r: 16 })); null: the model itself is trained. Default: null. */
  peft_config: PeftConfig | null;
  /** Makes of each row the text that is learned: (row) => `Question: ${row.question} Answer: ${row.answer}`; null: rows are as they are. Default: null. */
  formatting_func: FormattingFunc<R> | null;
  /** Called beside the trainer's own: instances or classes of TrainerCallback, or objects of hooks. Default: null. */
  callbacks: CallbackLike[] | null;
  /** Figures of what the model says of the evaluation rows: ({ predictions, label_ids }) => ({ accuracy: ... }). Default: null. */
  compute_metrics: ComputeMetrics | null;
  /** Makes less of each row's logits before compute_metrics gets them: (logits) => tf.argMax(logits, -1), say. Default: null. */
  preprocess_logits_for_metrics: PreprocessLogits | null;
}

/** The same where a function makes texts of rows, whatever columns they have. */
type Formatted<R extends object, F extends string> = Partial<Omit<SFTTrainerOptions<R, F>, 'train_dataset' | 'eval_dataset'>> & {
  formatting_func: FormattingFunc<R>;
  train_dataset: AnyData<R> | null;
  eval_dataset?: AnyData<R> | null;
} & Record<string, unknown>;

/** What changes which tokens are learned, as a user knows it. */
const RELABELLED = 'train_on_responses_only';

/** Of a stream before its rows are read. */
const UNREAD: TrainerRows = {
  prepared: { examples: [], origins: [], truncated: 0, tokensLost: 0, dropped: 0, droppedRows: [] },
  rows: [],
};

/** Of one that is given nothing. */
export const SFT_PARTS: SFTTrainerOptions = {
  model: null,
  args: null,
  train_dataset: null,
  eval_dataset: null,
  processing_class: null,
  peft_config: null,
  formatting_func: null,
  callbacks: null,
  compute_metrics: null,
  preprocess_logits_for_metrics: null,
};

/**
 * Supervised fine-tuning, as TRL's SFTTrainer. Before the first step it shows rows as the model sees them, with the tokens to
 * be learned marked, and says what was cut or dropped.
 */
export class SFTTrainer<
  M extends CausalLM | PeftModel<CausalLM> = PeftModel<CausalLM>,
  // biome-ignore lint/suspicious/noExplicitAny: rows of any columns, where a call names the model's type alone
  R extends object = any,
  F extends string = 'text',
> extends Trainer<M, Example> {
  private audited: Audited;
  /** Reads the rows of a stream; undefined where they are there. */
  private read?: () => Promise<{ rows: Dataset; audited: Audited }>;
  private readonly relabels: Relabel[] = [];
  private readonly rows: { train_dataset: Dataset | IterableDataset; eval_dataset: Dataset | null };
  /** What the run is made of that is code. */
  private readonly inCode: string[];
  /** Whether the model wore an adapter already. */
  private readonly worn: boolean;

  constructor(options: Formatted<R, F>);
  constructor(options: Partial<SFTTrainerOptions<R, F>> & Record<string, unknown>);
  constructor(options: object) {
    const o = readOptions<SFTTrainerOptions>('SFTTrainer', options, SFT_PARTS, { tokenizer: { to: 'processing_class' } });
    if (!o.model) throw new OptionError('SFTTrainer needs a model: await AutoModelForCausalLM.from_pretrained(...).');
    if (!(o.processing_class instanceof Tokenizer))
      throw new OptionError('SFTTrainer needs processing_class: await AutoTokenizer.from_pretrained(...).');
    if (!o.train_dataset) throw new OptionError('SFTTrainer needs a train_dataset: rows from load_dataset or Dataset.from_list.');
    const stream = (o.train_dataset as unknown) instanceof IterableDataset ? (o.train_dataset as unknown as IterableDataset) : null;
    const train_dataset = stream ? new Dataset<Row>([]) : datasetOf('SFTTrainer', 'train_dataset', o.train_dataset);
    const eval_dataset = o.eval_dataset && datasetOf('SFTTrainer', 'eval_dataset', o.eval_dataset);
    const args = o.args instanceof SFTConfig ? o.args : new SFTConfig(o.args ?? {});
    const isPeft = o.model instanceof PeftModel;
    if (!isPeft && !o.peft_config) checkTrainable(o.model as CausalLM);
    if (isPeft && o.peft_config) throw new OptionError('SFTTrainer: the model has an adapter already; leave peft_config out.');
    baseOf<CausalLM>(o.model).checkSmoothing(args.label_smoothing_factor);
    setUp(args, o.processing_class, baseOf<CausalLM>(o.model));
    if (stream) rowsWanted(args);
    const train = stream ? UNREAD : prepareRows('train_dataset', train_dataset, o.processing_class, args, o.formatting_func);
    const test = eval_dataset ? prepareRows('eval_dataset', eval_dataset, o.processing_class, args, o.formatting_func) : undefined;
    const model = o.peft_config && !isPeft ? get_peft_model(o.model as CausalLM, o.peft_config, { seed: args.seed }) : o.model;
    if (!o.peft_config && !isPeft) takeOff(model).free('it is taken off, since there is no peft_config');
    // Without an adapter the whole model is trained, where its owner has not chosen parts.
    if (!model.namedParameters().size) model.requires_grad_();
    const prompts = args.sample_prompts.length ? args.sample_prompts : promptsOf(eval_dataset ?? train_dataset);
    super({
      model: model as M,
      args,
      objective: OBJECTIVES[args.loss_type],
      train: train.rows,
      eval: test?.rows,
      tokenizer: o.processing_class,
      prompts,
      callbacks: o.callbacks ?? [],
      compute_metrics: o.compute_metrics,
      preprocess_logits_for_metrics: o.preprocess_logits_for_metrics,
      answers: args.predict_with_generate && test ? new Answers(test.prepared.examples, o.processing_class, args) : undefined,
    });
    this.rows = { train_dataset: stream ?? train_dataset, eval_dataset };
    const code = ['formatting_func', 'callbacks', 'compute_metrics', 'preprocess_logits_for_metrics'] as const;
    this.worn = isPeft;
    this.inCode = code.filter((name) => [o[name] ?? []].flat().length);
    this.audited = auditRows(train_dataset, o.processing_class, args, train, test);
    if (stream) {
      this.state = newState(args, lengthOfRun(args, rowsWanted(args)));
      this.read = async () => {
        const rows = await takeRows(stream, o.processing_class as Tokenizer, args, o.formatting_func);
        const prepared = tokenised('train_dataset', rows, o.processing_class as Tokenizer, args, o.formatting_func);
        const audited = auditRows(rows, o.processing_class as Tokenizer, args, { prepared, rows: [] });
        return { rows, audited: { ...audited, eval: this.audited.eval } };
      };
    } else emit('preview', { audit: auditOf(this.audited) });
  }

  /** Trains to the end, or until stopped; the rows of a stream are read first. `resume_from_checkpoint`: a path, or true for the newest checkpoint in output_dir. */
  override async train(options: Parameters<Trainer<M, Example>['train']>[0] = {}): Promise<TrainOutput> {
    if (this.read) {
      const { rows, audited } = await this.read();
      this.learn(audited, this.relabels);
      if (!this.parts.prompts.length) this.parts.prompts = promptsOf(rows);
      this.read = undefined; // where something failed, the next call reads and changes them again
    }
    return super.train(options);
  }

  /** Changes what is learned of the rows, or which of them; the run has not begun. */
  relabel(change: Relabel): void {
    if (!this.inCode.includes(RELABELLED)) this.inCode.push(RELABELLED);
    if (this.read) this.relabels.push(change);
    else this.learn(this.audited, [change]);
  }

  /** Takes rows, changed so, as those of the run; where a change fails, all stays as it was. */
  private learn(audited: Audited, changes: readonly Relabel[]): void {
    const { parts } = this;
    const args = this.args as SFTConfig;
    const rowsOf = (name: 'train_dataset' | 'eval_dataset', prepared: Prepared) =>
      arranged(
        name,
        changes.reduce((rows, change) => change(rows, parts.tokenizer, name), prepared),
        args,
      );
    const train = rowsOf('train_dataset', audited.train);
    const test = audited.eval && rowsOf('eval_dataset', audited.eval);
    parts.train = train.rows;
    if (test) parts.eval = test.rows;
    if (parts.answers && test) parts.answers = new Answers(test.prepared.examples, parts.tokenizer, args);
    this.audited = { ...audited, train: train.prepared, eval: test?.prepared, packed: args.packing ? train.rows : undefined };
    this.state = newState(args, lengthOfRun(args, train.rows.length));
    emit('preview', { audit: auditOf(this.audited) });
  }

  /** A trainer of a configuration as `trl sft` takes it (model_name_or_path, dataset_name, use_peft, max_steps, ...); model and rows are loaded. */
  static async fromConfig(
    config: Record<string, unknown>,
    beside: Pick<Partial<SFTTrainerOptions>, 'callbacks'> = {},
  ): Promise<SFTTrainer> {
    const { run, training } = splitConfig('sft', config, SFT_NAMES);
    const args = new SFTConfig(training);
    const parts = await partsOf(run, args.eval_strategy !== 'no');
    const { chat_template_path: template } = args;
    if (template !== null && !isTemplateFile(template)) {
      await clone_chat_template(parts.model, parts.processing_class, template);
      args.chat_template_path = null; // it is there
    }
    const trainer = new SFTTrainer({ ...parts, args, ...beside });
    args.chat_template_path = template;
    return trainer;
  }

  /** A trainer of a configuration in YAML: a file's path, or the text that `toYaml` gives. */
  static async fromYaml(yaml: string): Promise<SFTTrainer> {
    const isText = /[:{]\s/.test(yaml);
    const where = isText ? 'The configuration' : yaml;
    return SFTTrainer.fromConfig(takeEnv(isText ? readYaml(yaml, where) : readYamlFile(yaml), where));
  }

  /** The run in YAML, with TRL's keys, for `npx tunebook sft --config` and `fromYaml`: the model, the rows, the adapter and what was set of the options. */
  toYaml(): string {
    const base = baseOf<CausalLM>(this.model);
    const { _name_or_path: name, quantization_config } = base.config as {
      _name_or_path: string;
      quantization_config?: Record<string, unknown>;
    };
    const peft_config = this.model instanceof PeftModel ? this.model.active_peft_config : null;
    const set = Object.entries(withoutToken(this.args)).filter(
      ([option, value]) => JSON.stringify(value) !== JSON.stringify((SFT_DEFAULTS as unknown as Record<string, unknown>)[option]),
    );
    const { hub_token: _, ...args } = Object.fromEntries(set);
    const model = { name, quantization: quantization_config };
    return runYaml({
      model,
      asked: askedOf(base),
      peft_config,
      ...this.rows,
      args,
      inCode: this.inCode,
      worn: this.worn,
      resized: base.resized,
    });
  }
}
