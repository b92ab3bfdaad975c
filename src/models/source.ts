import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import * as tf from '../engine/tf';
import { Weight, type WeightFormat } from '../engine/weights';
import type { Gguf } from '../formats/gguf';
import { readJson } from '../formats/json';
import { readSafetensors, type SafeTensor } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import { Parameter } from '../nn';
import { type BitsAndBytesConfig, weightFormat } from '../quantize';

interface Stored {
  path: string;
  shape: number[];
  type: string;
  offset: number;
  bytes: number;
}

/** The weights of a model in files, by their Hugging Face names, loaded one at a time. */
export class WeightSource {
  constructor(
    readonly description: string,
    private readonly stored: Map<string, Stored>,
    /** For rows that a file keeps in another order: old row of each new row. */
    private readonly rowOrder: (name: string, rows: number) => Uint32Array | undefined = () => undefined,
  ) {}
  /** How matrices are packed on the way; null: as they are. */
  quantization: BitsAndBytesConfig | null = null;
  /** What other matrices are turned into; undefined: as they are. */
  format?: WeightFormat;
  private readonly made: { dispose(): void }[] = [];

  /** Loads by `f`; when it fails, what it had taken from here is freed. */
  async loading<T>(f: () => Promise<T>): Promise<T> {
    try {
      return await f();
    } catch (error) {
      for (const part of this.made) part.dispose();
      throw error;
    } finally {
      this.made.length = 0;
    }
  }

  has(name: string): boolean {
    return this.stored.has(name);
  }

  names(): string[] {
    return [...this.stored.keys()];
  }

  /** Bytes of all tensors as the files hold them. */
  get bytes(): number {
    let total = 0;
    for (const { bytes } of this.stored.values()) total += bytes;
    return total;
  }

  private async read(name: string, shape: number[]): Promise<{ bytes: Uint8Array; type: string }> {
    const stored = this.stored.get(name);
    if (!stored) throw new FileError(`${this.description} has no tensor ${name}; is it another architecture, or a part of a model?`);
    if (stored.shape.join() !== shape.join())
      throw new FileError(`${this.description}: tensor ${name} is [${stored.shape}], but config.json asks for [${shape}].`);
    let bytes = await withFile(stored.path, (read) => read(stored));
    const order = this.rowOrder(name, shape[0]);
    if (order) {
      const row = bytes.length / shape[0];
      const sorted = new Uint8Array(bytes.length);
      for (let i = 0; i < shape[0]; i++) sorted.set(bytes.subarray(order[i] * row, (order[i] + 1) * row), i * row);
      bytes = sorted;
    }
    return { bytes, type: stored.type };
  }

  /**
   * A matrix, packed as in the file, or as `quantization` says where the file has it in 16 or 32 bits: from the file to native
   * memory, without a copy that stays here.
   */
  async weight(name: string, rows: number, columns: number): Promise<Weight> {
    const { bytes, type } = await this.read(name, [rows, columns]);
    const stored = weightFormat(type, `${this.description}: tensor ${name}`);
    const { quantization } = this;
    const wanted = quantization?.formatOf(name);
    const values = () => stored.decode(bytes, rows * columns, columns);
    let [format, data] = [stored, bytes];
    if (wanted && quantization) {
      if (this.canPack(stored, wanted, columns)) [format, data] = [wanted, quantization.pack(wanted, values(), columns)];
    } else if (this.format?.encode && this.format !== stored) [format, data] = [this.format, this.format.encode(values(), columns)];
    const weight = new Weight(format, [rows, columns], data);
    this.made.push(weight);
    return weight;
  }

  private canPack(stored: WeightFormat, wanted: WeightFormat, columns: number): boolean {
    if (stored.block > 1)
      warnOnce(
        `${this.description} is packed as ${stored.name} already and stays so: packing it again as ${wanted.name} would only lose accuracy. For ${wanted.name}, load the model's 16-bit files.`,
      );
    else if (columns % wanted.block)
      warnOnce(
        `${this.description}: ${wanted.name} packs ${wanted.block} values along a row; matrices with ${columns} columns stay ${stored.name}.`,
      );
    return stored.block === 1 && columns % wanted.block === 0;
  }

  /** A vector in fp32, frozen, outside any tidy scope. */
  async vector(name: string, size: number): Promise<Parameter> {
    const { bytes, type } = await this.read(name, [size]);
    const vector = new Parameter(tf.keep(tf.tensor1d(weightFormat(type, name).decode(bytes, size))), false);
    this.made.push(vector);
    return vector;
  }
}

/** How one architecture's tensors are called in GGUF, and which rows llama.cpp keeps in another order. */
export interface GgufNames {
  /** [GGUF name with {} for the block's number, Hugging Face name]. */
  tensors: [string, string][];
  rowOrder(name: string, rows: number): Uint32Array | undefined;
}

export function ggufSource(gguf: Gguf, names: GgufNames, layers: number): WeightSource {
  const stored = new Map<string, Stored>();
  for (const [from, to] of names.tensors)
    for (let i = 0; i < (from.includes('{}') ? layers : 1); i++) {
      const tensor = gguf.tensors.get(from.replace('{}', String(i)));
      if (tensor) stored.set(to.replace('{}', String(i)), { ...tensor, path: gguf.path });
    }
  return new WeightSource(gguf.path, stored, names.rowOrder);
}

/** model.safetensors, or the shards that model.safetensors.index.json lists. */
export async function safetensorsSource(folder: string): Promise<WeightSource> {
  const index = join(folder, 'model.safetensors.index.json');
  let files = ['model.safetensors'];
  if (existsSync(index)) {
    const { weight_map: map } = await readJson(index);
    if (typeof map !== 'object' || !map || !Object.values(map).every((file) => typeof file === 'string'))
      throw new FileError(`${index} has no weight_map of file names: it is damaged. Get it again.`);
    files = [...new Set(Object.values(map))];
  }
  const stored = new Map<string, Stored>();
  for (const file of files) {
    const path = join(folder, file);
    if (!existsSync(path)) throw new FileError(`${folder} has no ${file}: it is not a whole model. Download it again.`);
    const { tensors } = await readSafetensors(path);
    for (const [name, tensor] of tensors as Map<string, SafeTensor>) stored.set(name, { ...tensor, path });
  }
  return new WeightSource(folder, stored);
}
