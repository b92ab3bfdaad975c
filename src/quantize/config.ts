import { inspect } from 'node:util';
import { FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { checkNumber, type Known, readOptions, show } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import type { Precision } from '../engine/precision';
import type { WeightFormat } from '../engine/weights';
import { fp4, fp4_dq, int8, nf4, nf4_dq } from './kinds';

/** Options of packing weights under transformers' names, with its defaults. */
export interface BitsAndBytesOptions {
  /** Pack matrices into 4 bits a value, an eighth of fp32. Default: false. */
  load_in_4bit: boolean;
  /** Pack matrices into 8 bits a value, a quarter of fp32. Default: false. */
  load_in_8bit: boolean;
  /** The values that 4 bits stand for. The default is bitsandbytes'; QLoRA uses 'nf4'. Default: 'fp4'. */
  bnb_4bit_quant_type: Known<'nf4' | 'fp4'>;
  /** Quantise the blocks' scales too, as QLoRA does: 4.13 bits a value instead of 4.5. Default: false. */
  bnb_4bit_use_double_quant: boolean;
  /** What products with packed matrices are made in. null: what SFTConfig's bf16 says. Default: null. */
  bnb_4bit_compute_dtype: Known<'float32' | 'bfloat16'> | null;
  /** As what type a saved model's file has the packed bytes. null: 'uint8'. Default: null. */
  bnb_4bit_quant_storage: Known<'uint8' | 'float16' | 'bfloat16' | 'float32'> | null;
  /** With load_in_8bit, inputs are in 8 bits outside of training, but columns with a value of this size stay as they are. Default: 6. */
  llm_int8_threshold: number;
  /** Modules (by the end of their names) that stay as the file has them. The output matrix always does. Default: null. */
  llm_int8_skip_modules: string[] | null;
  /** Taken as tutorials set it: all weights are where the CPU reads them. Default: false. */
  llm_int8_enable_fp32_cpu_offload: boolean;
  /** A copy of the weights in 16 bits beside them is never kept: true is refused. Default: false. */
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

const COMPUTE: Record<string, Precision> = { float32: 'fp32', bfloat16: 'bf16', float16: 'fp32' };
const STORAGE = ['uint8', 'float16', 'bfloat16', 'float32'];
const FORMATS: Record<string, [plain: WeightFormat, double: WeightFormat]> = { nf4: [nf4, nf4_dq], fp4: [fp4, fp4_dq] };

export interface BitsAndBytesConfig extends BitsAndBytesOptions {}

/** How weights are packed while a model is loaded, under transformers' names: give it to from_pretrained as quantization_config. */
export class BitsAndBytesConfig {
  constructor(options: Partial<BitsAndBytesOptions> & Record<string, unknown> = {}) {
    const owner = 'BitsAndBytesConfig';
    Object.assign(this, readOptions(owner, options, DEFAULTS));
    const one = (name: string, value: unknown, values: string[]) => {
      if (!values.includes(value as string)) throw new OptionError(`${owner}: ${name} is ${show(value)}; it can be ${either(values)}.`);
    };
    if (this.load_in_4bit && this.load_in_8bit)
      throw new OptionError(`${owner}: load_in_4bit and load_in_8bit exclude each other; give one of them.`);
    one('bnb_4bit_quant_type', this.bnb_4bit_quant_type, Object.keys(FORMATS));
    // Tutorials write torch.bfloat16: a config.json has its name alone.
    for (const name of ['bnb_4bit_compute_dtype', 'bnb_4bit_quant_storage'] as const)
      if (typeof this[name] === 'string') this[name] = this[name].replace(/^torch\./, '');
    if (this.bnb_4bit_compute_dtype !== null) one('bnb_4bit_compute_dtype', this.bnb_4bit_compute_dtype, Object.keys(COMPUTE));
    if (this.bnb_4bit_quant_storage !== null) one('bnb_4bit_quant_storage', this.bnb_4bit_quant_storage, STORAGE);
    checkNumber(owner, 'llm_int8_threshold', this.llm_int8_threshold, { min: 0 }, "6 is the paper's; 0 keeps no column apart.");
    const { llm_int8_skip_modules: skipped } = this;
    if (skipped !== null && !(Array.isArray(skipped) && skipped.every((name) => typeof name === 'string' && name)))
      throw new OptionError(`${owner}: llm_int8_skip_modules is ${show(skipped)}; it can be a list of modules' names, or null.`);
    if (this.llm_int8_has_fp16_weight)
      throw new OptionError(`${owner}: llm_int8_has_fp16_weight would keep the weights in 16 bits. Leave load_in_8bit out for that.`);
    if (this.llm_int8_enable_fp32_cpu_offload)
      warnOnce(`${owner}: llm_int8_enable_fp32_cpu_offload has no effect: there is one device, and nothing to move away from it.`);
    if (this.bnb_4bit_compute_dtype === 'float16')
      warnOnce(`${owner}: products are made in fp32 or bf16; for bnb_4bit_compute_dtype = 'float16' they are made in fp32.`);
  }

  /** The same as config.json of a packed model has it; what transformers' defaults say there is taken as not said. */
  static fromJson(json: unknown, where: string): BitsAndBytesConfig {
    const { quant_method, _load_in_4bit, _load_in_8bit, ...given } = (json ?? {}) as Record<string, unknown>;
    if (quant_method !== 'bitsandbytes')
      throw new FileError(
        `The config.json of ${where} sets quantization_config to ${show(json)}: its weights are packed in a way that tunebook does not read; it reads what bitsandbytes wrote. Load the model's 16-bit files, with quantization_config: new BitsAndBytesConfig({ load_in_4bit: true }) if they are to be packed.`,
      );
    const known = Object.entries(given).filter(([name]) => Object.hasOwn(DEFAULTS, name));
    const said = known.filter(([name, value]) => value !== null && !(name === 'bnb_4bit_compute_dtype' && value === 'float32'));
    try {
      return new BitsAndBytesConfig(Object.fromEntries(said));
    } catch (error) {
      if (error instanceof OptionError) throw new FileError(`${where}: its quantization_config cannot be used. ${error.message}`);
      throw error;
    }
  }

  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    return optionsShown('BitsAndBytesConfig', this, DEFAULTS);
  }

  /** As transformers writes it. */
  toJson(): Record<string, unknown> {
    const { load_in_4bit, load_in_8bit, bnb_4bit_compute_dtype: compute, bnb_4bit_quant_storage: storage } = this;
    return {
      ...(this as BitsAndBytesOptions),
      quant_method: 'bitsandbytes',
      _load_in_4bit: load_in_4bit,
      _load_in_8bit: load_in_8bit,
      bnb_4bit_compute_dtype: compute ?? 'float32',
      bnb_4bit_quant_storage: storage ?? 'uint8',
    };
  }

  private get format(): WeightFormat | undefined {
    if (this.load_in_8bit) return int8;
    return this.load_in_4bit ? FORMATS[this.bnb_4bit_quant_type][this.bnb_4bit_use_double_quant ? 1 : 0] : undefined;
  }

  /** What products with its matrices are made in, where it says so. */
  get products(): Precision | undefined {
    return this.load_in_4bit && this.bnb_4bit_compute_dtype !== null ? COMPUTE[this.bnb_4bit_compute_dtype] : undefined;
  }

  /** The format for a matrix of a model, by its name in the files; undefined where it stays as it is. */
  formatOf(name: string): WeightFormat | undefined {
    const module = name.replace(/\.weight$/, '');
    const skipped = ['lm_head', 'embed_tokens', ...(this.llm_int8_skip_modules ?? [])];
    return skipped.some((skip) => module === skip || module.endsWith(`.${skip}`) || module.startsWith(`${skip}.`))
      ? undefined
      : this.format;
  }
}

const either = (values: string[]) => `${values.slice(0, -1).map(show).join(', ')} or ${show(values.at(-1))}`;
