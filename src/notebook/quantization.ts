import { basename } from 'node:path';
import { inspect as nodeInspect } from 'node:util';
import {
  BARS,
  PAPER,
  QUANTIZATION_MIME,
  type QuantizationData,
  type QuantizedModule,
  quantizationPayload,
  quantizationSpec,
  quantizationSummary,
  worstOf,
} from '../../views';
import { FileError, OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { take } from '../engine/backend';
import { MatrixWriter } from '../engine/matrix_writer';
import * as tf from '../engine/tf';
import type { Weight } from '../engine/weights';
import { resolveModel } from '../hub/resolve';
import { CausalLM } from '../models/causal_lm';
import { outlineModel, weightsOf } from '../models/loading';
import { Linear, Parameter } from '../nn';
import { BitsAndBytesConfig, f32 } from '../quantize';
import { fourBitOf } from '../quantize/bitsandbytes';
import { LEVELS } from '../quantize/four_bit';
import { bundleOf } from './bundle';
import { ChartThread } from './chart';
import { type Bundle, Display, inNotebook } from './display';

export interface InspectQuantizationOptions {
  /** How the weights would be packed, or its options; by default as the model says that it is, else NF4 with double quantisation. Default: null. */
  quantization: BitsAndBytesConfig | Record<string, unknown> | null;
}

const DEFAULTS: InspectQuantizationOptions = { quantization: null };
const USUAL = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true };
/** Values of a matrix that its histogram is made of, at most. */
const SAMPLE = 1 << 16;

/** What `inspect_quantization` finds. As a cell's last value it shows itself; `show()` does so anywhere. */
export class QuantizationReport {
  constructor(
    readonly data: QuantizationData,
    private readonly picture: Buffer,
  ) {}

  get modules(): QuantizedModule[] {
    return this.data.modules;
  }

  /** The report as an output for readers of all kinds: HTML, a picture where there is one, text. */
  bundle(): Bundle {
    const { data } = this;
    return bundleOf({
      mime: QUANTIZATION_MIME,
      payload: quantizationPayload(data),
      title: `Quantisation of ${data.name}`,
      notes: data.notes,
      rows: quantizationSummary(data),
      picture: { png: this.picture, alt: `What packing changes in each module of ${data.name}, and the levels over one module's values` },
    });
  }

  [Symbol.for('Jupyter.display')](): Bundle {
    return this.bundle();
  }

  [nodeInspect.custom](): unknown {
    return this.bundle()['text/plain'];
  }

  /** Shows it: in a notebook as an output, elsewhere as text. */
  show(): void {
    if (inNotebook()) new Display(`tunebook-quantization-${Date.now()}`).show(this.bundle());
    else console.log(this);
  }
}

/** How many of a sample of values lie in each part of [-1, 1], every value against the largest magnitude of its run of `block`. */
function histogramOf(values: Float32Array, block: number): number[] {
  const bars = Array<number>(BARS).fill(0);
  const every = Math.max(1, Math.floor(values.length / SAMPLE));
  for (let from = 0; from < values.length; from += block * every) {
    const run = values.subarray(from, from + block);
    const largest = run.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (largest) for (const value of run) bars[Math.min(BARS - 1, Math.floor(((value / largest + 1) / 2) * BARS))]++;
  }
  return bars;
}

/** What packing one matrix changes. */
async function measure(name: string, plain: Weight, format: Weight['format']): Promise<{ module: QuantizedModule; bytes: number }> {
  const [rows, columns] = plain.shape;
  const w = plain.dequantize();
  const values = Float32Array.from((await w.data()) as Float32Array);
  const writer = new MatrixWriter(format, [rows, columns]);
  writer.add(new Uint8Array(values.buffer), f32);
  const packed = writer.finish();
  try {
    const [changed, all, largest] = await take(
      tf.tidy(() => {
        const difference = tf.sub(w, packed.dequantize());
        return tf.stack([tf.sum(tf.square(difference)), tf.sum(tf.square(w)), tf.max(tf.abs(difference))]);
      }),
    );
    const histogram = histogramOf(values, format.block > 1 ? format.block : columns);
    const error = all > 0 ? Math.sqrt(changed / all) : 0;
    return { module: { name, outFeatures: rows, inFeatures: columns, error, largest, histogram }, bytes: packed.byteSize };
  } finally {
    packed.dispose();
    w.dispose();
  }
}

function quantizationOf(given: InspectQuantizationOptions['quantization'], said: unknown, where: string): BitsAndBytesConfig {
  if (given instanceof BitsAndBytesConfig) return given;
  if (given) return new BitsAndBytesConfig(given);
  return said ? BitsAndBytesConfig.fromJson(said, where) : new BitsAndBytesConfig(USUAL);
}

/**
 * What packing a model's weights into 4 or 8 bits does to them: the error of every layer, and the levels over each one's values. `model`: its
 * Hub id or path, or a model that is loaded, whose files are read again, a matrix at a time.
 */
export async function inspect_quantization(
  model: CausalLM | string,
  options: Partial<InspectQuantizationOptions> & Record<string, unknown> = {},
): Promise<QuantizationReport> {
  const o = readOptions('inspect_quantization', options, DEFAULTS);
  if (!(model instanceof CausalLM) && typeof model !== 'string')
    throw new OptionError(`inspect_quantization takes a model, or its name or folder, not ${show(model)}.`);
  const name = typeof model === 'string' ? model : model.config._name_or_path;
  const said = typeof model === 'string' ? undefined : model.config.quantization_config;
  const how = quantizationOf(o.quantization, said, name);
  if (!how.formatOf('x.weight'))
    throw new OptionError('inspect_quantization: its quantization packs nothing. Set load_in_4bit or load_in_8bit.');
  const outline = await outlineModel(CausalLM, name, { dtype: 'auto', quantization: null });
  const source = await weightsOf(await resolveModel(name));
  if (source.packedBy)
    throw new FileError(
      `'${name}' is packed in its files already: what it was packed from is not there. Give the name or folder of its 16-bit files.`,
    );
  const charts = new ChartThread();
  const found: { module: QuantizedModule; bytes: number }[] = [];
  const kinds = new Set<string>();
  /** Columns of matrices that cannot be packed so. */
  const odd: number[] = [];
  try {
    for (const [path, layer] of outline.namedModules()) {
      const format = layer instanceof Linear && !(layer.weight instanceof Parameter) ? how.formatOf(`${path}.weight`) : undefined;
      if (!format || !(layer instanceof Linear)) continue;
      if (layer.inFeatures % format.block) {
        odd.push(layer.inFeatures);
        continue;
      }
      const plain = await source.weight(`${path}.weight`, layer.outFeatures, layer.inFeatures);
      try {
        if (plain.format.block > 1) kinds.add(plain.format.name);
        found.push(await measure(path, plain, format));
      } finally {
        plain.dispose();
      }
    }
    const modules = found.map(({ module }) => module);
    const format = how.formatOf('x.weight') as NonNullable<ReturnType<BitsAndBytesConfig['formatOf']>>;
    const four = fourBitOf(format);
    const kind = four?.levels ?? 'int8';
    const left = `${kind} packs ${format.block} values along a row; matrices with ${[...new Set(odd)].join(', ')} columns stay as they are`;
    if (!modules.length)
      throw new OptionError(
        `inspect_quantization: nothing of '${name}' would be packed. ${odd.length ? `${left}. load_in_8bit packs rows of any length.` : 'It has no linear layer that is not left out.'}`,
      );
    const data: QuantizationData = {
      name: basename(name),
      format: `${kind}${four?.double ? ' with double quantisation' : ''}`,
      createdAt: new Date().toISOString(),
      notes: [
        ...[...kinds].map((kind) => `The files have these weights as ${kind}: errors are against that.`),
        ...(odd.length ? [`${left} (${odd.length} of ${odd.length + modules.length}).`] : []),
      ],
      bytes: found.reduce((sum, { bytes }) => sum + bytes, 0),
      plainBytes: modules.reduce((sum, m) => sum + 2 * m.outFeatures * m.inFeatures, 0),
      levels: four ? Array.from(LEVELS[four.levels]).sort((a, b) => a - b) : [],
      modules,
    };
    return new QuantizationReport(data, await charts.png(quantizationSpec(data, worstOf(data), PAPER)));
  } finally {
    outline.dispose();
    await charts.end();
  }
}
