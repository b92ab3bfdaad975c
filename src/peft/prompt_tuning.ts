import { OptionError } from '../core/errors';
import { checkNumber, type Known } from '../core/options';
import * as tf from '../engine/tf';
import { type Matrix, type Module, Parameter, Prompted } from '../nn';
import { bracketed } from '../nn/printed';
import type { Adapter } from './adapter';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec, PeftConfig } from './method';

/** Options of prompt tuning under PEFT's names (peft 0.21), with its defaults. */
export interface PromptTuningOptions extends CommonOptions {
  /** Learned tokens before every row. They take as many of the model's positions; 8 to 100 are common. Needed. Default: 0. */
  num_virtual_tokens: number;
  /** 'RANDOM': normal numbers; 'SAMPLE_VOCAB': embeddings of tokens drawn from the vocabulary. Default: 'RANDOM'. */
  prompt_tuning_init: Known<'RANDOM' | 'SAMPLE_VOCAB'>;
  /** The text that a prompt of kind 'TEXT' begins as, which tunebook does not have yet; kept in adapter_config.json. Default: null. */
  prompt_tuning_init_text: string | null;
  /** The tokenizer of prompt_tuning_init_text; kept in adapter_config.json. Default: null. */
  tokenizer_name_or_path: string | null;
  /** Options of that tokenizer; kept in adapter_config.json. Default: null. */
  tokenizer_kwargs: object | null;
  /** Length of an embedding, which is taken from the model. Default: null. */
  token_dim: number | null;
  /** Blocks of the model, which are counted there. Default: null. */
  num_layers: number | null;
  /** Attention heads of the model, which are counted there. Default: null. */
  num_attention_heads: number | null;
  /** Decoders that the prompt stands before: 1, taken from the model. Default: null. */
  num_transformer_submodules: number | null;
}

const DEFAULTS: PromptTuningOptions = {
  ...COMMON,
  num_virtual_tokens: 0,
  prompt_tuning_init: 'RANDOM',
  prompt_tuning_init_text: null,
  tokenizer_name_or_path: null,
  tokenizer_kwargs: null,
  token_dim: null,
  num_layers: null,
  num_attention_heads: null,
  num_transformer_submodules: null,
};

export interface PromptTuningConfig extends PromptTuningOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/** Prompt tuning (Lester et al., 2021, https://arxiv.org/abs/2104.08691): learned embeddings stand before every row; nothing else is trained. */
export class PromptTuningConfig extends PeftConfig<PromptTuningOptions> {
  static readonly spec: OptionsSpec<PromptTuningOptions> = {
    peft_type: 'PROMPT_TUNING',
    owner: 'PromptTuningConfig',
    prefix: 'base_model.',
    defaults: DEFAULTS,
  };

  protected override check(saved: boolean): void {
    const remedy = 'It is how many learned tokens stand before every row; 8 to 100 are common.';
    checkNumber('PromptTuningConfig', 'num_virtual_tokens', this.num_virtual_tokens, { integer: true, min: 1 }, remedy);
    if (saved || ['RANDOM', 'SAMPLE_VOCAB'].includes(this.prompt_tuning_init)) return;
    const why = "is not there yet; 'RANDOM' and 'SAMPLE_VOCAB' are.";
    this.refuse('prompt_tuning_init', this.prompt_tuning_init === 'TEXT' ? `(a prompt that begins as a text) ${why}` : why);
  }

  get summary(): string {
    return `A learned prompt of ${this.num_virtual_tokens} tokens (prompt tuning)`;
  }

  override apply(model: BaseModel, { random, saved }: Applied): Adapter {
    const [path, decoder] = [...model.namedModules()].find(([, module]) => module instanceof Prompted) as [string, Prompted];
    const [words, dim] = decoder.embeddings.weight.shape;
    const { num_hidden_layers, num_attention_heads } = model.config as Record<string, unknown>;
    Object.assign(this, { token_dim: dim, num_layers: num_hidden_layers, num_attention_heads, num_transformer_submodules: 1 });
    const drawn = (): tf.Tensor =>
      !saved && this.prompt_tuning_init === 'SAMPLE_VOCAB'
        ? rowsOf(
            decoder.embeddings.owned('weight'),
            Array.from({ length: this.num_virtual_tokens }, () => Math.floor(random.uniform() * words)),
          )
        : tf.tensor2d(
            Float32Array.from({ length: this.num_virtual_tokens * dim }, () => random.normal()),
            [this.num_virtual_tokens, dim],
          );
    return new PromptAdapter(path, decoder, new Parameter(tf.keep(tf.tidy(drawn))));
  }
}

const rowsOf = (table: Matrix, ids: number[]): tf.Tensor =>
  tf.gather(table instanceof Parameter ? table.tensor : table.dequantize(), tf.tensor1d(ids, 'int32'));

/** A learned prompt before a decoder's rows. */
class PromptAdapter implements Adapter {
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly modules: ReadonlyMap<string, Module>;
  readonly replaced = new Map<string, Module>();
  readonly unmergeable = 'a prompt has no place in the matrices.';

  constructor(
    path: string,
    private readonly decoder: Prompted,
    private readonly prompt: Parameter,
  ) {
    this.parameters = new Map([['prompt_embeddings', prompt]]);
    this.modules = new Map([[path, decoder]]);
  }

  parametersIn(module: Module): Parameter[] {
    return [...module.namedModules()].some(([, inside]) => inside === this.decoder) ? [this.prompt] : [];
  }

  attach(): void {
    if (this.decoder.prompt) throw new OptionError('The model has a learned prompt already, and one alone can stand before its rows.');
    const { prompt } = this;
    this.decoder.prompt = { length: prompt.shape[0], rows: () => prompt.tensor as tf.Tensor2D };
  }

  detach(): void {
    this.decoder.prompt = undefined;
  }

  printed(): string {
    return bracketed('PromptEmbedding', [`(embedding): Embedding(${this.prompt.shape.join(', ')})`]);
  }

  async keep(): Promise<void> {
    throw new OptionError(`A learned prompt cannot be merged: ${this.unmergeable}`);
  }
}
