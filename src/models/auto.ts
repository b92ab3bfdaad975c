import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { type Alias, readOptions, show } from '../core/options';
import { startBackend } from '../engine/backend';
import { mebibytes } from '../engine/memory';
import type { WeightFormat } from '../engine/weights';
import { readGguf } from '../formats/gguf';
import { readJson } from '../formats/json';
import { GenerationConfig, readGenerationConfig } from '../generate/generation_config';
import { resolveModel } from '../hub/resolve';
import { BitsAndBytesConfig, bf16, f32 } from '../quantize';
import { Tokenizer } from '../tokenizers/tokenizer';
import type { CausalLM } from './causal_lm';
import { ggufGenerationConfig } from './gguf_metadata';
import type { KeyTable } from './keys';
import { LlamaForCausalLM } from './llama';
import { LLAMA_KEYS, llamaConfig } from './llama_config';
import { llamaConfigFromGguf, llamaGgufNames } from './llama_gguf';
import { MISTRAL_KEYS, mistralConfig } from './mistral';
import { ggufSource, safetensorsSource, type WeightSource } from './source';

interface LoadOptions {
  /** Says 'block 3 of 30' while it loads. */
  progress: boolean;
  /** How matrices are packed while they are loaded; null: as the files have them. */
  quantization_config: BitsAndBytesConfig | null;
  /** What matrices that are not quantised are kept in: 'auto' (as the files have them), 'float32' or 'bfloat16'. */
  dtype: string;
}

const DTYPES: Record<string, WeightFormat | undefined> = { auto: undefined, float32: f32, bfloat16: bf16 };

const quantized = (name: string): Alias => ({
  to: 'quantization_config',
  convert: (value) => (value ? new BitsAndBytesConfig({ [name]: true }) : null),
});

/** Names of transformers before 5.0. */
const ALIASES: Record<string, Alias> = {
  load_in_4bit: quantized('load_in_4bit'),
  load_in_8bit: quantized('load_in_8bit'),
  torch_dtype: { to: 'dtype' },
};

type Report = (done: number, of: number) => void;

interface Architecture {
  /** What becomes of each key of config.json. */
  keys: KeyTable;
  config: typeof llamaConfig;
  load: typeof LlamaForCausalLM.load;
}

/** The architectures, by config.json's model_type: one line each. */
export const MODELS: Readonly<Record<string, Architecture>> = {
  llama: { keys: LLAMA_KEYS, config: llamaConfig, load: LlamaForCausalLM.load },
  mistral: { keys: MISTRAL_KEYS, config: mistralConfig, load: LlamaForCausalLM.load },
};

/** How GGUF files of an architecture are read, by their general.architecture. */
const GGUF = {
  llama: { config: llamaConfigFromGguf, names: llamaGgufNames },
  mistral: { config: llamaConfigFromGguf, names: llamaGgufNames },
};

function architecture<T>(table: Readonly<Record<string, T>>, type: unknown, where: string): T {
  if (typeof type === 'string' && Object.hasOwn(table, type)) return table[type];
  throw new FileError(
    `${where} is of architecture '${String(type)}', which tunebook does not have; it has ${Object.keys(table).join(', ')}.`,
  );
}

export class AutoModelForCausalLM {
  /**
   * Loads a model by Hub id or path: a GGUF file (its blocks stay packed) or a folder with config.json and safetensors.
   * Weights go from the file to native memory one at a time, packed on the way where `quantization_config` says so.
   */
  static async from_pretrained(nameOrPath: string, options: Partial<LoadOptions> & Record<string, unknown> = {}): Promise<CausalLM> {
    const owner = 'AutoModelForCausalLM.from_pretrained';
    const { progress, quantization_config, dtype } = readOptions<LoadOptions>(
      owner,
      options,
      { progress: true, quantization_config: null, dtype: 'auto' },
      ALIASES,
    );
    if (!Object.hasOwn(DTYPES, dtype))
      throw new OptionError(`${owner}: dtype is ${show(dtype)}; it can be ${Object.keys(DTYPES).map(show).join(', ')}.`);
    const quantization =
      quantization_config && !(quantization_config instanceof BitsAndBytesConfig)
        ? new BitsAndBytesConfig(quantization_config as Record<string, unknown>)
        : quantization_config;
    const prepare = (source: WeightSource) => Object.assign(source, { quantization, format: DTYPES[dtype] });
    await startBackend();
    const found = await resolveModel(nameOrPath);
    const id = `load ${found.name}`;
    const report: Report = (done, of) => progress && emit('progress', { id, text: `Loading ${found.name}: block ${done} of ${of}` });
    const { model, source } =
      found.kind === 'gguf'
        ? await loadGguf(found.path, found.name, prepare, report)
        : await loadFolder(found.path, found.name, prepare, report);
    if (progress)
      emit('progress', {
        id,
        done: true,
        text: `Loaded ${found.name}: ${model.numParameters().toLocaleString('en-US')} parameters in ${mebibytes(model.weightBytes())} (the file's tensors: ${mebibytes(source.bytes)})`,
      });
    return model;
  }
}

interface Loaded {
  model: CausalLM;
  source: WeightSource;
}
type Prepare = (source: WeightSource) => WeightSource;

async function loadGguf(path: string, name: string, prepare: Prepare, report: Report): Promise<Loaded> {
  const gguf = await readGguf(path);
  const reader = architecture(GGUF, gguf.metadata.get('general.architecture'), path);
  const json = await reader.config(gguf);
  const { config: read, load } = architecture(MODELS, json.model_type, path);
  const config = read(json, name);
  const source = prepare(ggufSource(gguf, reader.names(config), config.num_hidden_layers));
  const generation_config = await readGenerationConfig(dirname(path), () => ggufGenerationConfig(gguf.metadata));
  const model = await source.loading(() => load(config, source, report));
  return { model: Object.assign(model, { generation_config }), source };
}

/** Buffers that older versions of transformers saved, and that follow from config.json. */
const FOLLOWS = /rotary_emb\.inv_freq$/;

async function loadFolder(folder: string, name: string, prepare: Prepare, report: Report): Promise<Loaded> {
  const json = await readJson(join(folder, 'config.json'));
  const { config, load } = architecture(MODELS, json.model_type, folder);
  const read = config(json, name);
  const source = prepare(await safetensorsSource(folder, json.transformers_weights));
  const generation_config = await readGenerationConfig(folder, () => GenerationConfig.fromModelConfig(json));
  const model = await source.loading(() => load(read, source, report));
  const unread = source.unread().filter((tensor) => !FOLLOWS.test(tensor));
  if (unread.length)
    warnOnce(
      `${folder} has ${unread.length} tensors that its architecture has no place for, here or in transformers; they are ignored: ${unread.slice(0, 5).join(', ')}${unread.length > 5 ? ', ...' : ''}.`,
    );
  return { model: Object.assign(model, { generation_config }), source };
}

export class AutoTokenizer {
  /** The tokenizer of a model by Hub id or path, or one saved in a folder of its own. */
  static async from_pretrained(nameOrPath: string): Promise<Tokenizer> {
    if (existsSync(join(nameOrPath, 'tokenizer.json'))) return Tokenizer.fromFolder(nameOrPath);
    const found = await resolveModel(nameOrPath);
    if (found.kind === 'folder') return Tokenizer.fromFolder(found.path);
    if (existsSync(join(dirname(found.path), 'tokenizer.json'))) return Tokenizer.fromFolder(dirname(found.path));
    return Tokenizer.fromGguf((await readGguf(found.path)).metadata, found.path);
  }
}
