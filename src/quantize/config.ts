import { OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import type { WeightFormat } from '../engine/weights';
import { fp4, nf4, withDoubleQuantization } from './four_bit';
import { int8 } from './int8';

export interface BitsAndBytesOptions {
  load_in_4bit: boolean;
  load_in_8bit: boolean;
  /** 'nf4' or 'fp4'. The default is bitsandbytes'; QLoRA uses nf4. */
  bnb_4bit_quant_type: string;
  /** Quantise the blocks' scales too. */
  bnb_4bit_use_double_quant: boolean;
  /** What products are made in. Here that is the trainer's choice (SFTConfig's bf16), so this has no effect. */
  bnb_4bit_compute_dtype: string | null;
  bnb_4bit_quant_storage: string | null;
  llm_int8_threshold: number;
  /** Modules (by the end of their names) that stay as the file has them. The output matrix always does. */
  llm_int8_skip_modules: string[] | null;
  llm_int8_enable_fp32_cpu_offload: boolean;
  llm_int8_has_fp16_weight: boolean;
}

const DEFAULTS: BitsAndBytesOptions = {
  load_in_4bit: false,
  load_in_8bit: false,
  bnb_4bit_quant_type: 'fp4',
  bnb_4bit_use_double_quant: false,
  bnb_4bit_compute_dtype: null,
  bnb_4bit_quant_storage: null,
  llm_int8_threshold: 6,
  llm_int8_skip_modules: null,
  llm_int8_enable_fp32_cpu_offload: false,
  llm_int8_has_fp16_weight: false,
};

export interface BitsAndBytesConfig extends BitsAndBytesOptions {}

/** How weights are packed while a model is loaded, under transformers' names: give it to from_pretrained as quantization_config. */
export class BitsAndBytesConfig {
  constructor(options: Partial<BitsAndBytesOptions> & Record<string, unknown> = {}) {
    Object.assign(this, readOptions('BitsAndBytesConfig', options, DEFAULTS));
    if (this.load_in_4bit && this.load_in_8bit)
      throw new OptionError('BitsAndBytesConfig: load_in_4bit and load_in_8bit exclude each other; give one of them.');
    if (!['nf4', 'fp4'].includes(this.bnb_4bit_quant_type))
      throw new OptionError(`BitsAndBytesConfig: bnb_4bit_quant_type is ${show(this.bnb_4bit_quant_type)}; it can be 'nf4' or 'fp4'.`);
  }

  private get format(): WeightFormat | undefined {
    if (this.load_in_8bit) return int8;
    return this.load_in_4bit ? (this.bnb_4bit_quant_type === 'nf4' ? nf4 : fp4) : undefined;
  }

  /** The format for a matrix of a model, by its name in the files; undefined where it stays as it is. */
  formatOf(name: string): WeightFormat | undefined {
    const module = name.replace(/\.weight$/, '');
    const skipped = ['lm_head', 'embed_tokens', ...(this.llm_int8_skip_modules ?? [])];
    return skipped.some((skip) => module === skip || module.endsWith(`.${skip}`) || module.startsWith(`${skip}.`))
      ? undefined
      : this.format;
  }

  /** Packs values [rows, columns]. */
  pack(format: WeightFormat, values: Float32Array, columns: number): Uint8Array {
    const bytes = (format.encode as NonNullable<WeightFormat['encode']>)(values, columns);
    return this.load_in_4bit && this.bnb_4bit_use_double_quant ? withDoubleQuantization(bytes) : bytes;
  }
}
