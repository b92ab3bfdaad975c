import { inspect } from 'node:util';
import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { escapeHtml, tableHtml } from '../core/html';
import { checkNumber, readOptions, show } from '../core/options';
import { backend, startBackend } from '../engine/backend';
import { availableMemory, memoryUsage } from '../engine/memory';
import type { Precision } from '../engine/precision';
import { CausalLM } from '../models/causal_lm';
import { outlineModel } from '../models/loading';
import { PretrainedModel } from '../models/pretrained';
import { LoraConfig } from '../peft/lora';
import { PeftModel } from '../peft/model';
import { targetLayers } from '../peft/targets';
import { BitsAndBytesConfig } from '../quantize';
import { type Amount, amountsOf, type Costs, type Parts } from './estimate_parts';
import { OPTIMIZERS } from './optimizers';

export interface EstimateOptions {
  /** What matrices that are not quantised are kept in, as from_pretrained takes it. Default: 'auto'. */
  dtype: string;
  /** How matrices are packed: a BitsAndBytesConfig, or its options; null: not at all. Default: null. */
  quantization: BitsAndBytesConfig | Record<string, unknown> | null;
  /** The adapter that is trained: a LoraConfig, its options, or its rank on all linear layers; null: all weights are. Default: 16. */
  lora: LoraConfig | Record<string, unknown> | number | null;
  /** SFTConfig's optim. Default: 'adamw_torch_fused'. */
  optimizer: string;
  /** Rows of a step. Default: 8. */
  batch: number;
  /** Tokens of the longest row. Default: 1024. */
  length: number;
  /** SFTConfig's gradient_checkpointing; null: where memory asks for it. Default: null. */
  checkpointing: boolean | null;
  /** Products in bf16; null: where the CPU has instructions for it. Default: null. */
  bf16: boolean | null;
}

const DEFAULTS: EstimateOptions = {
  dtype: 'auto',
  quantization: null,
  lora: 16,
  optimizer: 'adamw_torch_fused',
  batch: 8,
  length: 1024,
  checkpointing: null,
  bf16: null,
};

const GB = 1e9;
const shown = (bytes: number) => (bytes >= GB ? `${(bytes / GB).toFixed(2)} GB` : `${Math.round(bytes / 1e6)} MB`);

/** What a training run takes, before anything is loaded. As a cell's last value it shows itself as a table. */
export class MemoryEstimate {
  constructor(
    readonly name: string,
    readonly parameters: number,
    readonly trained: number,
    /** In bytes, each with low, expected and high. */
    readonly parts: Parts,
    /** What this process may take, in bytes. */
    readonly available: number,
    /** What would fit, where this does not; the first that is enough. */
    readonly proposals: string[],
  ) {}

  get total(): Amount {
    return this.parts.total;
  }

  /** Whether the expected total is at hand. */
  get fits(): boolean {
    return this.total.expected <= this.available;
  }

  /** The usual rules of thumb for a model of this size: what a billion parameters take. */
  get rules(): string[] {
    const full = 4 * this.parameters;
    return [
      `1 billion parameters take 4 GB in 32 bits: ${shown(full)} for these ${this.parameters.toLocaleString('en-US')}.`,
      `16 bits take half of that: ${shown(full / 2)}; 8 bits a quarter: ${shown(full / 4)}; 4 bits an eighth: ${shown(full / 8)}.`,
      `Training all of them with Adam adds a gradient and two moments for each, in 32 bits: ${shown(3 * full)}.`,
    ];
  }

  /** What takes memory, part by part, as text: at least, as expected, at most. */
  rows(): { part: string; low: string; expected: string; high: string }[] {
    return Object.entries(this.parts).map(([part, { low, expected, high }]) => ({
      part,
      ...{ low: shown(low), expected: shown(expected), high: shown(high) },
    }));
  }

  private get verdict(): string {
    const needed = `${shown(this.total.expected)} expected, ${shown(this.available)} available`;
    if (this.fits) return `It fits: ${needed}.`;
    return `It does not fit: ${needed}. ${this.proposals.join(' ')}`;
  }

  private get caption(): string {
    return `${this.name}: ${this.parameters.toLocaleString('en-US')} parameters, ${this.trained.toLocaleString('en-US')} of them trained.`;
  }

  /** The rows as a table of plain text, with the verdict. */
  toString(): string {
    const rows = [{ part: '', low: 'low', expected: 'expected', high: 'high' }, ...this.rows()];
    const wide = (name: keyof (typeof rows)[0]) => Math.max(...rows.map((row) => row[name].length));
    const [part, low, expected, high] = (['part', 'low', 'expected', 'high'] as const).map(wide);
    const lines = rows.map((row) =>
      [row.part.padEnd(part), row.low.padStart(low), row.expected.padStart(expected), row.high.padStart(high)].join('  '),
    );
    return [this.caption, ...lines, this.verdict, ...this.rules].join('\n');
  }

  [inspect.custom](): string {
    return this.toString();
  }

  [Symbol.for('Jupyter.display')](): Record<string, string> {
    const paragraph = (text: string) => `<p>${escapeHtml(text)}</p>`;
    const list = `<ul>${this.rules.map((rule) => `<li>${escapeHtml(rule)}</li>`).join('')}</ul>`;
    return {
      'text/plain': this.toString(),
      'text/html': `${paragraph(this.caption)}${tableHtml(this.rows())}${paragraph(this.verdict)}<p>Rules of thumb:</p>${list}`,
    };
  }
}

function loraOf(lora: EstimateOptions['lora']): LoraConfig | null {
  if (lora === null || lora instanceof LoraConfig) return lora;
  return new LoraConfig(typeof lora === 'number' ? { r: lora, target_modules: 'all-linear' } : lora);
}

function quantizationOf(given: EstimateOptions['quantization']): BitsAndBytesConfig | null {
  return given && !(given instanceof BitsAndBytesConfig) ? new BitsAndBytesConfig(given) : given;
}

function checked(given: object): EstimateOptions {
  const o = readOptions<EstimateOptions>('estimate_memory', given, DEFAULTS);
  checkNumber('estimate_memory', 'batch', o.batch, { integer: true, min: 1 }, 'It is the number of rows in a step.');
  checkNumber('estimate_memory', 'length', o.length, { integer: true, min: 1 }, 'It is the number of tokens of the longest row.');
  if (!Object.hasOwn(OPTIMIZERS, o.optimizer))
    throw new OptionError(
      `estimate_memory: optimizer is ${show(o.optimizer)}; it can be one of SFTConfig's optim: ${Object.keys(OPTIMIZERS).join(', ')}.`,
    );
  return o;
}

type Given = string | Record<string, unknown> | PretrainedModel | PeftModel;

/** What is trained of a model, as shapes, and what it takes. */
async function costsOf(given: Given, o: EstimateOptions): Promise<Costs & { name: string }> {
  const loaded = given instanceof PeftModel ? (given.base_model as PretrainedModel) : given instanceof PretrainedModel ? given : undefined;
  const lora = loraOf(o.lora);
  const how = { dtype: lora ? o.dtype : 'float32', quantization: lora ? quantizationOf(o.quantization) : null };
  const model = loaded ?? (await outlineModel(CausalLM, given as string | Record<string, unknown>, how));
  try {
    const shapes: number[][] = [];
    if (lora)
      for (const [path, { inFeatures, outFeatures }] of targetLayers(model, lora, {
        owner: 'LoraConfig',
        usual: { default: ['q_proj', 'v_proj'] },
        saved: false,
      })) {
        const { r } = lora.of(path);
        shapes.push([r, inFeatures], [outFeatures, r]);
      }
    else for (const [, { shape }] of model.namedTensors()) shapes.push(shape);
    const low = lora && !loaded ? shapes.reduce((sum, [r], i) => sum + (i % 2 ? 0 : r), 0) : 0;
    const precision: Precision = (o.bf16 ?? backend().bf16) ? 'bf16' : 'fp32';
    const [kept, recomputed] = model.activationFloats(precision);
    return {
      name: model.config._name_or_path,
      parameters: model.numParameters(),
      // Without an adapter matrices are unpacked to fp32.
      weightBytes: lora ? model.weightBytes() : 4 * model.numParameters(),
      shapes,
      adapter: lora !== null,
      hidden: model.config.hidden_size,
      inner: Number(model.config.intermediate_size ?? 4 * model.config.hidden_size),
      vocabulary: model.config.vocab_size,
      precision,
      // Of a pair beside a layer what it makes of its input is kept too.
      floats: [kept + low, recomputed + low / model.config.num_hidden_layers],
    };
  } finally {
    if (!loaded) model.dispose();
  }
}

/** Changes that take less, the gentlest first; each is tried together with those before it. */
const LESS: { say: string; change: (o: EstimateOptions) => Partial<EstimateOptions> | undefined }[] = [
  { say: 'checkpointing: true', change: (o) => (o.checkpointing ? undefined : { checkpointing: true }) },
  {
    say: "quantization: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true }",
    change: (o) =>
      o.quantization || o.lora === null
        ? undefined
        : { quantization: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true } },
  },
  {
    say: "optimizer: 'paged_adamw_8bit'",
    change: (o) => (o.optimizer === 'paged_adamw_8bit' ? undefined : { optimizer: 'paged_adamw_8bit' }),
  },
  { say: 'lora: 16', change: (o) => (o.lora === null ? { lora: 16 } : undefined) },
  { say: 'half the length', change: (o) => (o.length > 128 ? { length: Math.ceil(o.length / 2) } : undefined) },
  { say: 'a quarter of the length', change: (o) => (o.length > 128 ? { length: Math.ceil(o.length / 2) } : undefined) },
];

async function proposalsFor(given: Given, options: EstimateOptions, available: number): Promise<string[]> {
  const said: string[] = [];
  let o = options;
  for (const { say, change } of LESS) {
    const less = change(o);
    if (!less) continue;
    o = { ...o, ...less };
    said.push('length' in less ? `length: ${less.length}` : say);
    const { total } = amountsOf(await costsOf(given, o), o);
    if (total.expected <= available) {
      const unique = said.filter((text, i) => !text.startsWith('length') || i === said.length - 1);
      return [`What fits: ${unique.join(', ')} (${shown(total.expected)}).`];
    }
  }
  return ['Nothing here makes it fit: choose a smaller model, or a machine with more memory.'];
}

/**
 * What training would take of this machine's memory, part by part with low, expected and high, before anything is loaded: of a model by
 * its Hub id, path or what its config.json says, or of one that is loaded. Says what would fit where this does not.
 */
export async function estimate_memory(
  given: Given,
  options: Partial<EstimateOptions> & Record<string, unknown> = {},
): Promise<MemoryEstimate> {
  const isModel = given instanceof PeftModel || given instanceof PretrainedModel;
  if (typeof given !== 'string' && !isModel && !(given && typeof given === 'object' && 'model_type' in given))
    throw new OptionError(
      `estimate_memory takes a model's name or folder, a config with model_type (AutoConfig.from_pretrained), or a loaded model, not ${show(given)}.`,
    );
  const o = checked(options);
  await startBackend();
  const costs = await costsOf(given, o);
  const parts = amountsOf(costs, o);
  const available = availableMemory() + memoryUsage().resident;
  const proposals = parts.total.expected <= available ? [] : await proposalsFor(isModel ? costs.name : given, o, available);
  const trained = costs.shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const estimate = new MemoryEstimate(costs.name, costs.parameters, trained, parts, available, proposals);
  if (!estimate.fits)
    warnOnce(
      `Training ${costs.name} so takes about ${shown(parts.total.expected)}, and ${shown(available)} are available. ${proposals.join(' ')}`,
    );
  return estimate;
}
