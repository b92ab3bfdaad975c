import { inspect } from 'node:util';
import { OptionError } from '../core/errors';
import { type Known, readOptions, show } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import type { WeightFormat } from '../engine/weights';
import { fp4, nf4, withDoubleQuantization } from './four_bit';
import { int8 } from './int8';

/** Options of packing weights under transformers' names, with its defaults. */
export interface BitsAndBytesOptions {
  /** Pack matrices into 4 bits a value, an eighth of fp32. Default: false. */
  load_in_4bit: boolean;
  /** Pack matrices into 8 bits a value, a quarter of fp32. Default: false. */
  load_in_8bit: boolean;
  /** The values that 4 bits stand for. The default is bitsandbytes'; QLoRA uses 'nf4'. Default: 'fp4'. */
  bnb_4bit_quant_type: Known<'nf4' | 'fp4'>;
  /** Quantise the blocks' scales too, as QLoRA does: values are bitsandbytes', but no memory is saved by it here. Default: false. */
  bnb_4bit_use_double_quant: boolean;
  /** What products are made in. Here that is the trainer's choice (SFTConfig's bf16), so this has no effect. Default: null. */
  bnb_4bit_compute_dtype: Known<'float32' | 'bfloat16'> | null;
  /** What packed bytes are kept as in torch. Here they are bytes, so this has no effect. Default: null. */
  bnb_4bit_quant_storage: string | null;
  /** From what size on bitsandbytes computes inputs in 16 bits. Here inputs are never quantised, so this has no effect. Default: 6. */
  llm_int8_threshold: number;
  /** Modules (by the end of their names) that stay as the file has them. The output matrix always does. Default: null. */
  llm_int8_skip_modules: string[] | null;
  /** Taken as tutorials set it: all weights are where the CPU reads them. Default: false. */
  llm_int8_enable_fp32_cpu_offload: boolean;
  /** Taken as tutorials set it: a copy of the weights in 16 bits is never kept. Default: false. */
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

  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    return optionsShown('BitsAndBytesConfig', this, DEFAULTS);
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
