import { inspect } from 'node:util';
import { OptionError } from '../core/errors';
import { checkNumber, checkOneOf } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import { PACKING, type Packing } from '../data/packing';
import { type GivenOptions, TRAINING_ALIASES, TRAINING_DEFAULTS, type TrainingOptions, trainingOptions } from '../train/config';
import { checkGeneration, GENERATION_OPTIONS, type GenerationOptions } from '../train/generated';
import { withoutToken } from '../train/hub_options';
import * as kinds from '../train/objectives/kinds';
import { SFT_OTHERS } from '../train/other_options';

/** Options of supervised fine-tuning: those of every training run, and what is learned of a row. */
export interface SFTOptions extends TrainingOptions, GenerationOptions {
  /** The peak of the learning rate, which the schedule's curve is multiplied with; 1e-4 to 3e-4 are usual for LoRA. Default: 2e-5. */
  learning_rate: number;
  /** Rows of more tokens than this are cut at the end; null: never. Default: 1024. */
  max_length: number | null;
  /** Learn the assistant's turns alone (rows of {messages}). Default: false. */
  assistant_only_loss: boolean;
  /** Learn the completion alone (rows of {prompt, completion}); null: yes. Default: null. */
  completion_only_loss: boolean | null;
  /** The column of plain texts, where rows are neither {messages} nor {prompt, completion}. Default: 'text'. */
  dataset_text_field: string;
  /** Fill rows up to max_length with several texts; they do not see one another. A batch counts the filled rows. Default: false. */
  packing: boolean;
  /** How: with whole texts ('bfd', best fit decreasing), with what is longer than max_length in pieces ('bfd_split'), or cut wherever a row is full ('wrapped', for raw text). Default: 'bfd'. */
  packing_strategy: Packing;
  /** Whether rows of eval_dataset are packed too; null: as packing. Default: null. */
  eval_packing: boolean | null;
  /** Which end of rows longer than max_length is kept. Default: 'keep_start'. */
  truncation_mode: 'keep_start' | 'keep_end';
  /** Shuffle rows once before they are packed; each epoch has an order of its own in any case (train_sampling_strategy). Default: false. */
  shuffle_dataset: boolean;
  /** The token that ends texts and completions; null: the tokenizer's. Default: null. */
  eos_token: string | null;
  /** A file of a chat template (.jinja), for a tokenizer that has none; another model's: clone_chat_template. Default: null. */
  chat_template_path: string | null;
  /** How a token's loss counts: each alike ('nll'), or as much as the model believes in the token ('dft'). Default: 'nll'. */
  loss_type: keyof typeof kinds;
}

/** What SFTConfig takes where nothing is given. */
export const SFT_DEFAULTS: SFTOptions = {
  ...TRAINING_DEFAULTS,
  learning_rate: 2e-5,
  max_length: 1024,
  assistant_only_loss: false,
  completion_only_loss: null,
  dataset_text_field: 'text',
  packing: false,
  packing_strategy: 'bfd',
  eval_packing: null,
  truncation_mode: 'keep_start',
  shuffle_dataset: false,
  eos_token: null,
  chat_template_path: null,
  loss_type: 'nll',
  ...GENERATION_OPTIONS,
};

/** What learns, by loss_type. */
export const OBJECTIVES = { ...kinds };

const ALIASES = { ...TRAINING_ALIASES, ...SFT_OTHERS, max_seq_length: { to: 'max_length' } };

/** All names that SFTConfig takes, older ones too. */
export const SFT_NAMES = [...Object.keys(SFT_DEFAULTS), ...Object.keys(ALIASES)];

export interface SFTConfig<F extends string = 'text'> extends SFTOptions {
  dataset_text_field: F;
}

/** Options of supervised fine-tuning under TRL's names (trl 1.16), with its defaults. */
export class SFTConfig<F extends string = 'text'> {
  constructor(options: GivenOptions<SFTOptions> & { dataset_text_field?: F } = {}) {
    Object.assign(this, trainingOptions('SFTConfig', options, SFT_DEFAULTS, ALIASES));
    if (this.max_length !== null)
      checkNumber(
        'SFTConfig',
        'max_length',
        this.max_length,
        { integer: true, min: 2 },
        'It is the number of tokens a row may have; null for no limit.',
      );
    checkOneOf('SFTConfig', 'loss_type', this.loss_type, Object.keys(OBJECTIVES));
    const values = { packing_strategy: PACKING, truncation_mode: ['keep_start', 'keep_end'] } as const;
    for (const [name, known] of Object.entries(values) as [keyof typeof values, readonly string[]][])
      checkOneOf('SFTConfig', name, this[name], known);
    checkGeneration('SFTConfig', this);
    if (this.label_smoothing_factor && this.loss_type !== 'nll')
      throw new OptionError(
        `SFTConfig: label_smoothing_factor = ${this.label_smoothing_factor} is for loss_type 'nll'; with '${this.loss_type}' it would have no effect. Set it to 0.`,
      );
    if ((this.packing || this.eval_packing) && this.max_length === null)
      throw new OptionError('SFTConfig: packing needs max_length, the number of tokens that rows are packed into; it is null.');
  }

  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    return optionsShown('SFTConfig', withoutToken(this), SFT_DEFAULTS);
  }
}
