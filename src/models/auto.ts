import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { emit } from '../core/events';
import { type Alias, readOptions, show } from '../core/options';
import { startBackend } from '../engine/backend';
import { mebibytes } from '../engine/memory';
import type { WeightFormat } from '../engine/weights';
import { readGguf } from '../formats/gguf';
import { readJson } from '../formats/json';
import { resolveModel } from '../hub/resolve';
import { BitsAndBytesConfig, bf16, f32 } from '../quantize';
import { Tokenizer } from '../tokenizers/tokenizer';
import type { CausalLM } from './causal_lm';
import { LlamaForCausalLM, llamaConfig, llamaConfigFromGguf, llamaGgufNames } from './llama';
import { mistralConfig } from './mistral';
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

/** The architectures, by config.json's model_type (GGUF's general.architecture): one line each. */
const MODELS: Record<
  string,
  {
    config: typeof llamaConfig;
    configFromGguf: typeof llamaConfigFromGguf;
    ggufNames: typeof llamaGgufNames;
    load: typeof LlamaForCausalLM.load;
  }
> = {
  llama: { config: llamaConfig, configFromGguf: llamaConfigFromGguf, ggufNames: llamaGgufNames, load: LlamaForCausalLM.load },
  mistral: { config: mistralConfig, configFromGguf: llamaConfigFromGguf, ggufNames: llamaGgufNames, load: LlamaForCausalLM.load },
};

function architecture(type: unknown, where: string) {
  const model = typeof type === 'string' && Object.hasOwn(MODELS, type) ? MODELS[type] : undefined;
  if (!model)
    throw new FileError(
      `${where} is of architecture '${String(type)}', which tunebook does not have; it has ${Object.keys(MODELS).join(', ')}.`,
    );
  return model;
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

async function loadGguf(
  path: string,
  name: string,
  prepare: (source: WeightSource) => WeightSource,
  report: Report,
): Promise<{ model: CausalLM; source: WeightSource }> {
  const gguf = await readGguf(path);
  const model = architecture(gguf.metadata.get('general.architecture'), path);
  const config = model.configFromGguf(gguf.metadata, gguf.tensors.has('output.weight'), name);
  const source = prepare(ggufSource(gguf, model.ggufNames(config), config.num_hidden_layers));
  return { model: await source.loading(() => model.load(config, source, report)), source };
}

async function loadFolder(
  folder: string,
  name: string,
  prepare: (source: WeightSource) => WeightSource,
  report: Report,
): Promise<{ model: CausalLM; source: WeightSource }> {
  const json = await readJson(join(folder, 'config.json'));
  const model = architecture(json.model_type, folder);
  const source = prepare(await safetensorsSource(folder));
  return { model: await source.loading(() => model.load(model.config(json, name), source, report)), source };
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
