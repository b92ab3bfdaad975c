import { dirname, join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { type Alias, type Known, readOptions, show } from '../core/options';
import { isNative, nativeAddon, startBackend } from '../engine/backend';
import { mebibytes } from '../engine/memory';
import { sparing } from '../engine/plain_error';
import type { WeightFormat } from '../engine/weights';
import { type Gguf, readGguf } from '../formats/gguf';
import { readJson } from '../formats/json';
import { GenerationConfig, readGenerationConfig } from '../generate/generation_config';
import {
  FIND_ALIASES,
  FIND_DEFAULTS,
  type FindOptions,
  findModel,
  type ResolvedModel,
  resolveFile,
  resolveModel,
  splitFind,
} from '../hub/resolve';
import { BitsAndBytesConfig, bf16, f32 } from '../quantize';
import type { Architecture, GgufReader, Report } from './architecture';
import * as architectures from './architectures';
import { askedFor } from './asked';
import type { ModelConfig } from './config';
import { checkMetadata, ggufGenerationConfig } from './gguf_metadata';
import type { Head } from './head';
import { lackedBy } from './lacking';
import type { PretrainedModel } from './pretrained';
import { FOLLOWS, type WeightSource } from './source';
import { ConfigSource, ggufSource, safetensorsSource } from './source_files';

/** Options of from_pretrained. */
export interface LoadOptions extends FindOptions {
  /** Says 'block 3 of 30' while it loads. Default: true. */
  progress: boolean;
  /** How matrices are packed while they are loaded; null: as the files have them. Default: null. */
  quantization_config: BitsAndBytesConfig | null;
  /** What matrices that are not quantised are kept in: 'auto' (as the files have them), 'float32' or 'bfloat16'. Default: 'auto'. */
  dtype: Known<'auto' | 'float32' | 'bfloat16'>;
}

const DTYPES: Record<string, WeightFormat | undefined> = { auto: undefined, float32: f32, bfloat16: bf16 };

const quantized = (name: string): Alias => ({
  to: 'quantization_config',
  convert: (value) => (value ? new BitsAndBytesConfig({ [name]: true }) : null),
});

/** Names of transformers before 5.0. */
const ALIASES: Record<string, Alias> = {
  ...FIND_ALIASES,
  load_in_4bit: quantized('load_in_4bit'),
  load_in_8bit: quantized('load_in_8bit'),
  torch_dtype: { to: 'dtype' },
};

/** The architectures by config.json's model_type. */
export const ARCHITECTURES: Readonly<Record<string, Architecture>> = Object.fromEntries(
  Object.values(architectures).map((architecture) => [architecture.model_type, architecture]),
);

/** Those with GGUF files, by what these say in general.architecture. */
const GGUF_ARCHITECTURES: typeof ARCHITECTURES = Object.fromEntries(
  Object.values(architectures as Record<string, Architecture>).flatMap((architecture) =>
    architecture.gguf ? [[architecture.gguf.architecture ?? architecture.model_type, architecture]] : [],
  ),
);

function architectureOf(type: unknown, where: string, known = ARCHITECTURES, said: Record<string, unknown> = {}): Architecture {
  if (typeof type === 'string' && Object.hasOwn(known, type)) return known[type];
  const lacks = lackedBy(String(type), said);
  throw new FileError(
    `${where} is of architecture '${String(type)}', which tunebook does not have${lacks && ` (${lacks})`}; it has ${Object.keys(known).join(', ')}.`,
  );
}

/** A GGUF file's metadata of its architecture, without its name before the keys. */
const ggufSays = ({ metadata }: Gguf): Record<string, unknown> =>
  Object.fromEntries([...metadata].map(([key, value]) => [key.slice(key.indexOf('.') + 1), value]));

/** What both kinds of files are loaded by. */
interface How<M extends PretrainedModel> {
  head: Head<M>;
  /** Options of the head's own. */
  own: Record<string, unknown>;
  name: string;
  prepare(source: WeightSource): WeightSource;
  report: Report;
}
interface Loaded<M> {
  model: M;
  source: WeightSource;
}

/**
 * Loads a model by Hub id or path: a GGUF file (its blocks stay packed) or a folder with config.json and safetensors.
 * Weights go from the file to native memory one at a time, packed on the way where `quantization_config` says so.
 */
export const loadModel = <M extends PretrainedModel>(
  head: Head<M>,
  nameOrPath: string,
  options: Partial<LoadOptions> & Record<string, unknown>,
): Promise<M> => sparing('loading', () => load(head, nameOrPath, options));

async function load<M extends PretrainedModel>(
  head: Head<M>,
  nameOrPath: string,
  options: Partial<LoadOptions> & Record<string, unknown>,
): Promise<M> {
  const owner = `AutoModel${head.suffix}.from_pretrained`;
  const all = readOptions<LoadOptions & Record<string, unknown>>(
    owner,
    options,
    { ...head.options, ...FIND_DEFAULTS, progress: true, quantization_config: null, dtype: 'auto' },
    ALIASES,
  );
  const { progress, quantization_config, dtype, ...rest } = all;
  const [find, own] = splitFind<FindOptions, FindOptions>(rest as unknown as FindOptions, FIND_DEFAULTS);
  if (!Object.hasOwn(DTYPES, dtype))
    throw new OptionError(`${owner}: dtype is ${show(dtype)}; it can be ${Object.keys(DTYPES).map(show).join(', ')}.`);
  const quantization =
    quantization_config && !(quantization_config instanceof BitsAndBytesConfig)
      ? new BitsAndBytesConfig(quantization_config as Record<string, unknown>)
      : quantization_config;
  const prepare = (source: WeightSource) => Object.assign(source, { quantization, format: DTYPES[dtype] });
  await startBackend();
  const found = await resolveModel(nameOrPath, find);
  const { name } = found;
  const id = `load ${name}`;
  const report: Report = (done, of) => progress && emit('progress', { id, text: `Loading ${name}: block ${done} of ${of}` });
  const { model, source } = await (found.kind === 'gguf' ? loadGguf : loadFolder)(found.path, { head, own, name, prepare, report });
  if (isNative()) nativeAddon().trim();
  const how = source.packedBy ?? source.quantization;
  if (how) model.config.quantization_config = how.toJson();
  if (progress)
    emit('progress', {
      id,
      done: true,
      text: `Loaded ${name}: ${model.numParameters().toLocaleString('en-US')} parameters in ${mebibytes(model.weightBytes())} (the file's tensors: ${mebibytes(source.bytes)})`,
    });
  const { revision, subfolder, gguf_file } = find;
  return askedFor(model, { dtype, revision, subfolder, gguf_file });
}

/** The decoder, and the head beside it. */
function assemble<M extends PretrainedModel>(
  { name, classes, decoder }: Architecture,
  config: ModelConfig,
  source: WeightSource,
  { head, own, report }: How<M>,
): Promise<M> {
  return source.loading(async () => {
    const made = await decoder(config, source, report);
    return head.load(made, { ...config, architectures: [classes?.[head.suffix] ?? name + head.suffix] }, source, own);
  });
}

/** What a GGUF file holds, and the architecture that it is read by. */
async function readModelGguf(path: string, name: string) {
  const gguf = await readGguf(path);
  const { model_type, gguf: reader } = architectureOf(gguf.metadata.get('general.architecture'), path, GGUF_ARCHITECTURES, ggufSays(gguf));
  const { keys, config: read, names } = reader as GgufReader<ModelConfig>;
  checkMetadata(gguf, gguf.metadata.get('general.architecture') as string, keys);
  const json = { model_type, ...(await read(gguf)) };
  const architecture = architectureOf(json.model_type, path);
  const config = architecture.config(json, name);
  return { gguf, architecture, config, source: ggufSource(gguf, names(config), config.num_hidden_layers, architecture.layout) };
}

const TYPES: Record<string, string> = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' };

/**
 * A model without its values, as it would be loaded: what it is made of and takes can be asked of it, and nothing else. `given`: its Hub id
 * or path, or what its config.json says. Of a model that is not on this machine only its config.json is fetched.
 */
export async function outlineModel<M extends PretrainedModel>(
  head: Head<M>,
  given: string | Record<string, unknown>,
  { dtype, quantization }: { dtype: string; quantization: BitsAndBytesConfig | null },
): Promise<M> {
  await startBackend();
  const how = { head, own: { ...head.options }, report: () => {} };
  const prepare = (source: WeightSource) => Object.assign(source, { quantization, format: DTYPES[dtype], hollow: true });
  const found = typeof given === 'string' ? findModel(given) : undefined;
  if (found) {
    const load = found.kind === 'gguf' ? loadGguf : loadFolder;
    return (await load(found.path, { ...how, name: found.name, prepare })).model;
  }
  const json = typeof given === 'string' ? await loadConfig(given, FIND_DEFAULTS) : given;
  const name = typeof given === 'string' ? given : 'the config';
  const architecture = architectureOf(json.model_type, name, ARCHITECTURES, json);
  const config = architecture.config(json, name);
  const said = String(json.dtype ?? json.torch_dtype ?? 'bfloat16');
  const source = new ConfigSource(name, TYPES[said] ?? 'BF16', config.tie_word_embeddings, architecture.layout);
  if (json.quantization_config) source.packedBy = BitsAndBytesConfig.fromJson(json.quantization_config, name);
  const packedBy = source.packedBy && { quantization: source.packedBy };
  return assemble(architecture, config, Object.assign(prepare(source), packedBy), { ...how, name, prepare });
}

/** What a model's config.json or GGUF file says, with its architecture's defaults. */
export async function loadConfig(nameOrPath: string, find: FindOptions): Promise<ModelConfig> {
  const found = find.gguf_file === null ? await resolveFile(nameOrPath, 'config.json', find) : undefined;
  if (!found?.endsWith('.json')) {
    const { path } = await resolveModel(nameOrPath, find);
    return (await readModelGguf(path, nameOrPath)).config;
  }
  const json = await readJson(found);
  return architectureOf(json.model_type, found, ARCHITECTURES, json).config(json, nameOrPath);
}

/** The weights of a model in files, by their Hugging Face names. */
export async function weightsOf({ kind, path, name }: ResolvedModel): Promise<WeightSource> {
  if (kind === 'gguf') return (await readModelGguf(path, name)).source;
  const json = await readJson(join(path, 'config.json'));
  return folderSource(path, json, architectureOf(json.model_type, path, ARCHITECTURES, json));
}

/** A folder's weights, with what its config.json says of how they are packed. */
async function folderSource(folder: string, json: Record<string, unknown>, { layout }: Architecture): Promise<WeightSource> {
  const { quantization_config: packed } = json;
  const packedBy = packed ? BitsAndBytesConfig.fromJson(packed, folder) : null;
  return Object.assign(await safetensorsSource(folder, layout, json.transformers_weights), { packedBy });
}

async function loadGguf<M extends PretrainedModel>(path: string, how: How<M>): Promise<Loaded<M>> {
  const { gguf, architecture, config, source: stored } = await readModelGguf(path, how.name);
  const source = how.prepare(stored);
  const generation_config = await readGenerationConfig(dirname(path), () => ggufGenerationConfig(gguf.metadata));
  const model = await assemble(architecture, config, source, how);
  return { model: Object.assign(model, { generation_config }), source };
}

async function loadFolder<M extends PretrainedModel>(folder: string, how: How<M>): Promise<Loaded<M>> {
  const json = await readJson(join(folder, 'config.json'));
  const architecture = architectureOf(json.model_type, folder, ARCHITECTURES, json);
  const config = architecture.config(json, how.name);
  const source = how.prepare(await folderSource(folder, json, architecture));
  if (source.packedBy && source.quantization) {
    warnOnce(
      `${folder} is packed by bitsandbytes already and stays so: its own quantization_config is what counts. For another, load the model's 16-bit files.`,
    );
    source.quantization = null;
  }
  const generation_config = await readGenerationConfig(folder, () => GenerationConfig.fromModelConfig(json));
  const model = await assemble(architecture, config, source, how);
  const unread = source.unread().filter((tensor) => !FOLLOWS.test(tensor) && !how.head.elsewhere?.test(tensor));
  if (unread.length)
    warnOnce(
      `${folder} has ${unread.length} tensors that its architecture has no place for, here or in transformers; they are ignored: ${unread.slice(0, 5).join(', ')}${unread.length > 5 ? ', ...' : ''}.`,
    );
  return { model: Object.assign(model, { generation_config }), source };
}
