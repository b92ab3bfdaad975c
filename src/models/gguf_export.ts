import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { FileError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { show } from '../core/options';
import { take } from '../engine/backend';
import type { WeightFormat } from '../engine/weights';
import { writeText } from '../formats/atomic';
import { type Gguf, readGguf } from '../formats/gguf';
import { f32, type GgufEntry, type GgufWritable, text, u32, writeGguf } from '../formats/gguf_write';
import type { GenerationConfig } from '../generate/generation_config';
import { type Matrix, Parameter, type RopeParameters, rotation } from '../nn';
import type { GgufPlaces } from '../peft/gguf';
import { type GgufMix, ggufMix } from '../quantize/gguf_mix';
import { modelfile } from '../tokenizers/modelfile';
import type { Tokenizer } from '../tokenizers/tokenizer';
import type { Architecture, GgufReader } from './architecture';
import type { ModelConfig } from './config';
import { ropeToGguf } from './gguf_rope_write';
import { ARCHITECTURES } from './loading';
import type { PretrainedModel } from './pretrained';
import { HEAD } from './source';

export interface GgufExport {
  /**
   * How matrices are packed: 'f32', 'f16', 'bf16', 'q8_0', 'q6_k', 'q5_k_m', 'q4_k_m', 'q4_k_s', 'q4_0', 'q4_1', 'q5_0', 'q5_1',
   * 'q3_k', 'q2_k' (llama.cpp's mixes). Norms and biases stay fp32.
   */
  quantization_method: string;
}

/** What llama.cpp calls a setting, and where it stands in config.json. */
const SETTINGS: [key: string, name: string, entry: (value: number) => GgufEntry][] = [
  ['vocab_size', 'vocab_size', u32],
  ['context_length', 'max_position_embeddings', u32],
  ['embedding_length', 'hidden_size', u32],
  ['block_count', 'num_hidden_layers', u32],
  ['feed_forward_length', 'intermediate_size', u32],
  ['feed_forward_length', 'n_inner', u32],
  ['attention.head_count', 'num_attention_heads', u32],
  ['attention.head_count_kv', 'num_key_value_heads', u32],
  ['attention.key_length', 'head_dim', u32],
  ['attention.value_length', 'head_dim', u32],
  ['attention.layer_norm_rms_epsilon', 'rms_norm_eps', f32],
  ['attention.layer_norm_epsilon', 'layer_norm_epsilon', f32],
  ['attention.sliding_window', 'sliding_window', u32],
  ['rope.freq_base', 'rope_theta', f32],
  ['embedding_scale', 'embedding_multiplier', f32],
  ['residual_scale', 'residual_multiplier', f32],
  ['attention.scale', 'attention_multiplier', f32],
  ['logit_scale', 'logits_scaling', f32],
  ['final_logit_softcapping', 'final_logit_softcapping', f32],
  ['attn_logit_softcapping', 'attn_logit_softcapping', f32],
];

/** Architectures that llama.cpp knows under another's name. */
const WRITTEN_AS: Record<string, string> = { mistral: 'llama' };

/** How an architecture's files are written: by whose reader, and under which name. */
function writtenAs(model_type: string): { reader: GgufReader<ModelConfig>; name: string } | undefined {
  const type = WRITTEN_AS[model_type] ?? model_type;
  const reader = ARCHITECTURES[type]?.gguf;
  return reader && { reader, name: reader.architecture ?? type };
}

type Ropes = RopeParameters & { full_attention?: RopeParameters; sliding_attention?: RopeParameters };
type Rotating = { rope_parameters?: Ropes; rope_theta?: number; head_dim?: number };
/** The rotation of the layers that see all, where those with a window have another. */
const ropeOf = ({ rope_parameters: rope }: Rotating): RopeParameters | undefined => rope?.full_attention ?? rope;
const turnedOf = (config: Rotating) => Math.round((config.head_dim ?? 0) * (ropeOf(config)?.partial_rotary_factor ?? 1));

function settingsOf(config: ModelConfig, { keys }: GgufReader<ModelConfig>): { metadata: [string, GgufEntry][]; tensors: GgufWritable[] } {
  const known = (key: string) => keys[key] === 'obeyed';
  const metadata = SETTINGS.flatMap(([key, name, entry]): [string, GgufEntry][] => {
    const value = config[name];
    return known(key) && typeof value === 'number' ? [[key, entry(value)]] : [];
  });
  const { rope_parameters, rope_theta } = config as Rotating;
  const parameters = ropeOf(config as Rotating);
  if (!parameters || !known('rope.dimension_count')) return { metadata, tensors: [] };
  const local = rope_parameters?.sliding_attention?.rope_theta;
  if (local !== undefined && known('rope.freq_base_swa')) metadata.push(['rope.freq_base_swa', f32(local)]);
  const turned = turnedOf(config as Rotating);
  const rope = ropeToGguf(parameters, turned, rope_theta ?? 10000, config.max_position_embeddings);
  return { metadata: [...metadata, ['rope.dimension_count', u32(turned)], ...rope.metadata], tensors: rope.tensors };
}

/** Settings of sampling that llama.cpp has too. */
function samplingOf({ do_sample, temperature, top_k, top_p, min_p }: GenerationConfig): [string, GgufEntry][] {
  if (!do_sample) return [];
  const found: [string, unknown, (value: number) => GgufEntry][] = [
    ['temp', temperature, f32],
    ['top_k', top_k, u32],
    ['top_p', top_p, f32],
    ['min_p', min_p, f32],
  ];
  return found.flatMap(([name, value, entry]) =>
    typeof value === 'number' ? [[`general.sampling.${name}`, entry(value)] as [string, GgufEntry]] : [],
  );
}

/** Ends of an answer beside the tokenizer's own: llama.cpp knows two more. */
function endsOf(config: GenerationConfig, tokenizer: Tokenizer): [string, GgufEntry][] {
  const others = ([config.eos_token_id ?? []].flat() as number[]).filter((id) => id !== tokenizer.eos_token_id);
  return others.slice(0, 2).map((id, i) => [`tokenizer.ggml.${['eot', 'eom'][i]}_token_id`, u32(id)]);
}

/** The model's tensors by GGUF's names, each read when its turn comes. */
function tensorsOf(model: PretrainedModel, architecture: Architecture, mix: GgufMix): GgufWritable[] {
  const { config } = model;
  const { tensors, rowOrder, ones } = (architecture.gguf as GgufReader<ModelConfig>).names(config);
  const own = new Map([...model.namedTensors()].map(([name, tensor]) => [name, tensor]));
  const tied = !own.has(HEAD);
  const written: GgufWritable[] = [];
  for (const [pattern, theirs] of tensors)
    for (let block = 0; block < (pattern.includes('{}') ? config.num_hidden_layers : 1); block++) {
      const [name, from] = [pattern, theirs].map((n) => n.replace('{}', String(block)));
      const tensor = own.get(from);
      own.delete(from);
      if (!tensor) continue;
      const { shape } = tensor;
      const place = { name: tied && name === 'token_embd.weight' ? 'output.weight' : name, block, blocks: config.num_hidden_layers };
      const format = shape.length > 1 ? mix.formatOf(place, shape[1]) : mix.formatOf(place, Number.NaN);
      const type = shape.length > 1 ? format.name : 'F32';
      const order = rowOrder?.(from, shape[0]);
      written.push({ name, shape, type, data: () => packed(tensor, shape.length > 1 ? format : undefined, order, ones?.test(from)) });
    }
  if (own.size)
    throw new FileError(
      `GGUF has no place in the architecture ${config.model_type} for ${own.size} tensors of the model, such as ${[...own.keys()].slice(0, 3).join(', ')}. Save it with save_pretrained instead.`,
    );
  return written;
}

/** A tensor's bytes in a format (a vector's in fp32, with 1 more where `one`), its rows as `order` has them in the model: row i of the model is row order[i] of the file. */
async function packed(tensor: Matrix, format: WeightFormat | undefined, order?: Uint32Array, one = false): Promise<Uint8Array> {
  let bytes: Uint8Array;
  if (tensor instanceof Parameter || tensor.format !== format) {
    const kept = (tensor instanceof Parameter ? await tensor.tensor.data() : await take(tensor.dequantize())) as Float32Array;
    const values = one ? kept.map((value) => value + 1) : kept;
    const columns = tensor.shape.at(-1) as number;
    const encode = format?.encode as NonNullable<WeightFormat['encode']> | undefined;
    bytes = encode ? encode(values, columns) : new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  } else bytes = tensor.packed();
  if (!order) return bytes;
  const row = bytes.length / order.length;
  const sorted = new Uint8Array(bytes.length);
  for (let i = 0; i < order.length; i++) sorted.set(bytes.subarray(i * row, (i + 1) * row), order[i] * row);
  return sorted;
}

/** What llama.cpp calls the layers of a model, and the order of their rows; undefined where it has no such models. */
export function ggufPlaces(config: ModelConfig): GgufPlaces | undefined {
  const architecture = ARCHITECTURES[config.model_type];
  if (!architecture?.gguf) return undefined;
  const { tensors, rowOrder } = architecture.gguf.names(config);
  const named = tensors.flatMap(([pattern, theirs]) =>
    Array.from({ length: pattern.includes('{}') ? config.num_hidden_layers : 1 }, (_, block) =>
      [theirs, pattern].map((name) => name.replace('{}', String(block))),
    ),
  );
  const matrices = named
    .filter(([name]) => name.endsWith('.weight'))
    .map(([name, theirs]) => [name.slice(0, -'.weight'.length), theirs] as const);
  return { architecture: writtenAs(config.model_type)?.name ?? config.model_type, tensors: new Map(matrices), rowOrder };
}

/** What a rotation comes to: kinds of different names may be one. */
function turns(config: ModelConfig): number[] | undefined {
  const { rope_parameters, rope_theta: theta = 10000 } = config as Rotating;
  const parameters = ropeOf(config as Rotating);
  if (!parameters) return undefined;
  const { max_position_embeddings } = config;
  // Beyond them too: a base may grow with the text.
  return [1, max_position_embeddings, 4 * max_position_embeddings].flatMap((length) => {
    const { frequencies, factor } = rotation({ dim: turnedOf(config as Rotating), theta, max_position_embeddings, parameters }, length);
    return [...frequencies, factor, rope_parameters?.sliding_attention?.rope_theta ?? 0];
  });
}

const near = (a: unknown, b: unknown): boolean =>
  typeof a === 'number' && typeof b === 'number'
    ? Math.abs(a - b) <= 2e-5 * Math.max(Math.abs(a), 1e-12)
    : Array.isArray(a) && Array.isArray(b)
      ? a.length === b.length && a.every((one, i) => near(one, b[i]))
      : JSON.stringify(a || null) === JSON.stringify(b || null);

/** How many tokens each layer sees; 0 for all: files say it in several ways. */
function windows(config: ModelConfig): number[] {
  const { sliding_window: window, use_sliding_window: on = true, max_window_layers: first = 0, layer_types: types } = config;
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => {
    const slides = Array.isArray(types) ? types[layer] === 'sliding_attention' : on && layer >= (first as number);
    return slides && typeof window === 'number' ? window : 0;
  });
}

/** Which layers know no positions, likewise. */
function unturned({ no_rope_layers: layers, no_rope_layer_interval: interval, num_hidden_layers }: ModelConfig): number[] {
  const of = (layer: number) => (Array.isArray(layers) ? !layers[layer] : typeof interval === 'number' && (layer + 1) % interval === 0);
  return Array.from({ length: num_hidden_layers }, (_, layer) => Number(of(layer)));
}

/** Settings that stand elsewhere in a file, or are told apart by their meaning. */
const ELSEWHERE =
  /^(rope_|original_max_position|no_rope_|sliding_window|use_sliding_window|max_window_layers|layer_types|bos_|eos_|pad_|transformers_weights|model_type|tie_word|vocab_size|architectures)/;

/** Reads the metadata back as it will be read, and refuses to write what would be another model. */
async function checkKept(
  model: PretrainedModel,
  architecture: Architecture,
  reader: GgufReader<ModelConfig>,
  metadata: Map<string, GgufEntry>,
  tensors: GgufWritable[],
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tunebook-gguf-'));
  try {
    const path = join(folder, 'metadata.gguf');
    await writeGguf(
      path,
      metadata,
      tensors.filter(({ name }) => name.startsWith('rope_')),
    );
    const gguf: Gguf = await readGguf(path);
    for (const { name, shape, type } of tensors)
      if (!gguf.tensors.has(name)) gguf.tensors.set(name, { name, shape, type, path, offset: 0, bytes: 0 });
    const json = { model_type: WRITTEN_AS[architecture.model_type] ?? architecture.model_type, ...(await reader.config(gguf)) };
    const read = ARCHITECTURES[json.model_type as string].config(json, path);
    const lost = Object.keys(architecture.keys).filter(
      (key) => architecture.keys[key] === 'obeyed' && !ELSEWHERE.test(key) && !near(model.config[key], read[key]),
    );
    if (!near(turns(model.config), turns(read))) lost.push('rope_parameters');
    if (!near(windows(model.config), windows(read))) lost.push('sliding_window');
    if (!near(unturned(model.config), unturned(read))) lost.push('no_rope_layers');
    if (lost.length)
      throw new FileError(
        `GGUF cannot hold what the model's configuration says: ${lost.map((key) => `${key} = ${show(model.config[key])} would be read as ${show(read[key])}`).join('; ')}. Save it with save_pretrained instead.`,
      );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Writes a model with its tokenizer as a GGUF file for llama.cpp, and an Ollama Modelfile beside it. `path`: the file (*.gguf), or a folder,
 * where it is called after the model and the mix. Returns the file's path.
 */
export async function saveGguf(
  model: PretrainedModel,
  path: string,
  tokenizer: Tokenizer,
  { quantization_method }: GgufExport,
): Promise<string> {
  const { config } = model;
  const mix = ggufMix(quantization_method);
  const architecture = ARCHITECTURES[config.model_type];
  const { reader, name } = writtenAs(config.model_type) ?? {};
  if (!architecture?.gguf || !reader || !name)
    throw new FileError(
      `llama.cpp's files of the architecture ${config.model_type} are not written by tunebook. Save it with save_pretrained instead.`,
    );
  const base = basename(config._name_or_path).replace(/\.gguf$/, '') || 'model';
  const file = path.endsWith('.gguf') ? resolve(path) : join(resolve(path), `${base}.${mix.name}.gguf`);
  const settings = settingsOf(config, reader);
  if (WRITTEN_AS[config.model_type] && config.sliding_window)
    warnOnce(
      `llama.cpp has no windows in models of ${config.model_type}: on texts of more than ${config.sliding_window} tokens it answers otherwise than tunebook.`,
    );
  const metadata = new Map<string, GgufEntry>([
    ['general.architecture', text(name)],
    ['general.type', text('model')],
    ['general.name', text(base)],
    ['general.file_type', u32(mix.fileType)],
    ['general.quantization_version', u32(2)],
    ...settings.metadata.map(([key, entry]): [string, GgufEntry] => [`${name}.${key}`, entry]),
    ...samplingOf(model.generation_config),
    ...tokenizer.toGguf(config.vocab_size),
    ...endsOf(model.generation_config, tokenizer),
  ]);
  const tensors = [...settings.tensors, ...tensorsOf(model, architecture, mix)];
  await checkKept(model, architecture, reader, metadata, tensors);
  await mkdir(dirname(file), { recursive: true });
  const id = `gguf ${file}`;
  const told = tensors.map((tensor, i) => ({
    ...tensor,
    data: () => {
      emit('progress', { id, text: `Writing ${file}: tensor ${i + 1} of ${tensors.length}` });
      return tensor.data();
    },
  }));
  await writeGguf(file, metadata, told);
  await writeText(join(dirname(file), 'Modelfile'), modelfile(`./${basename(file)}`, tokenizer, model.generation_config));
  emit('progress', { id, text: `Wrote ${file} and a Modelfile for Ollama beside it`, done: true });
  return file;
}
