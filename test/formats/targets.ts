import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Random } from '../../src/core/random';
import { readGguf } from '../../src/formats/gguf';
import { readParquet } from '../../src/formats/parquet';
import { readSafetensors, writeSafetensors } from '../../src/formats/safetensors';
import { withFile } from '../../src/formats/slices';
import { AutoModelForCausalLM, AutoTokenizer, get_peft_model, LoraConfig, load_dataset, PeftModel } from '../../src/index';
import { chatRow, tinyLlama, tinyTokenizer } from '../tiny';
import { mutated, mutatedJson, mutatedJsonText, quickFolder, type Target } from './fuzz';

/** A safetensors file whose header is changed as JSON, so that it is still one; or its bytes. */
function mutatedHeader(bytes: Buffer, random: Random): Buffer {
  if (random.uniform() < 0.4) return mutated(bytes, random);
  const length = Number(bytes.readBigUInt64LE());
  try {
    const text = Buffer.from(JSON.stringify(mutatedJson(JSON.parse(bytes.toString('utf8', 8, 8 + length)), random)) ?? '');
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([head, text, bytes.subarray(8 + length)]);
  } catch {
    return mutated(bytes, random);
  }
}

const small = { num_hidden_layers: 1, hidden_size: 16, intermediate_size: 16, num_attention_heads: 2, num_key_value_heads: 1 };

/** Reads a header, and every tensor that it names. */
async function readAll(path: string, tensors: Iterable<{ offset: number; bytes: number }>): Promise<void> {
  await withFile(path, async (read) => {
    for (const tensor of tensors) await read(tensor);
  });
}

async function model() {
  return AutoModelForCausalLM.from_pretrained(await tinyLlama(1, small), { progress: false });
}

/** A model in a folder of its own, one of whose files is damaged. */
async function inModel(file: string, mutate: Target['mutate']): Promise<Target> {
  const folder = quickFolder();
  await (await model()).save_pretrained(folder);
  const path = join(folder, file);
  const read = async () => (await AutoModelForCausalLM.from_pretrained(folder, { progress: false })).dispose();
  return { bytes: readFileSync(path), path, mutate, read };
}

async function inAdapter(file: string, mutate: Target['mutate']): Promise<Target> {
  const [base, folder] = [await model(), quickFolder()];
  const peft = get_peft_model(base, new LoraConfig({ r: 2, target_modules: 'all-linear' }));
  await peft.save_pretrained(folder);
  const whole = file.endsWith('.gguf');
  if (whole) await peft.save_pretrained_gguf(join(folder, file));
  peft.unload();
  const path = join(folder, file);
  const read = async () => (await PeftModel.from_pretrained(base, whole ? path : folder)).unload();
  return { bytes: readFileSync(path), path, mutate, read };
}

async function ggufModel(): Promise<string> {
  const path = join(quickFolder(), 'model.gguf');
  return (await model()).save_pretrained_gguf(path, tinyTokenizer(), { quantization_method: 'q8_0' });
}

/** Models of some hundred pieces with a table of characters, which sentencepiece has trained. */
async function sentencePiece(file: string): Promise<Target> {
  const path = join(quickFolder(), 'tokenizer.model');
  const read = async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(dirname(path));
    tokenizer.decode(tokenizer.encode('The quick Straße, ﬁnd <think> 日本'));
  };
  return { bytes: readFileSync(join(__dirname, file)), path, mutate: mutated, read };
}

/** Every reader of files that come from elsewhere. */
export const TARGETS: Record<string, () => Promise<Target>> = {
  async safetensors() {
    const path = join(quickFolder(), 'a.safetensors');
    await writeSafetensors(path, [
      { name: 'a', shape: [2, 3], data: new Float32Array(6) },
      { name: 'b.weight', shape: [4], type: 'BF16', data: new Uint16Array(4) },
      { name: 'c', shape: [0, 5], type: 'I64', data: new BigInt64Array(0) },
    ]);
    const read = async () => readAll(path, (await readSafetensors(path)).tensors.values());
    return { bytes: readFileSync(path), path, mutate: mutatedHeader, read };
  },
  async GGUF() {
    const path = await ggufModel();
    const read = async () =>
      readAll(
        path,
        [...(await readGguf(path)).tensors.values()].filter((t) => t.path === path),
      );
    // Its metadata and the list of its tensors are at its beginning, and are what there is to read.
    const mutate = (bytes: Buffer, random: Random) => Buffer.concat([mutated(bytes.subarray(0, 12_000), random), bytes.subarray(12_000)]);
    return { bytes: readFileSync(path), path, mutate, read };
  },
  async parquet() {
    const path = join(quickFolder(), 'a.parquet');
    return { bytes: readFileSync(join(__dirname, 'rows.parquet')), path, mutate: mutated, read: () => readParquet(path) };
  },
  async 'rows of JSONL'() {
    const path = join(quickFolder(), 'rows.jsonl');
    const rows = [chatRow('a', 'b'), chatRow('ü', '漢字')].map((row) => JSON.stringify(row)).join('\n');
    return { bytes: Buffer.from(rows), path, mutate: mutated, read: () => load_dataset(path) };
  },
  async 'rows of CSV'() {
    const path = join(quickFolder(), 'rows.csv');
    return { bytes: Buffer.from('a,b,c\n1,"x ""y""",true\n2,"z\nz",\n'), path, mutate: mutated, read: () => load_dataset(path) };
  },
  async 'the head of a README.md'() {
    const folder = join(quickFolder(), 'set');
    await mkdir(folder);
    const path = join(folder, 'README.md');
    writeFileSync(join(folder, 'rows.jsonl'), '{"a": 1}\n');
    const head = '---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: "*.jsonl"\n  default: true\n---\n';
    return { bytes: Buffer.from(head), path, mutate: mutated, read: () => load_dataset(folder) };
  },
  async 'tokenizer.json'() {
    const folder = quickFolder();
    await tinyTokenizer().save_pretrained(folder);
    const path = join(folder, 'tokenizer.json');
    const read = async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      tokenizer.decode(tokenizer.encode('Hello, wörld'));
    };
    return { bytes: readFileSync(path), path, mutate: mutatedJsonText, read };
  },
  'a SentencePiece model of BPE': () => sentencePiece('bpe.model'),
  'a SentencePiece model of Unigram': () => sentencePiece('unigram.model'),
  async 'tokenizer_config.json'() {
    const folder = quickFolder();
    await tinyTokenizer().save_pretrained(folder);
    const path = join(folder, 'tokenizer_config.json');
    return {
      bytes: readFileSync(path),
      path,
      mutate: mutatedJsonText,
      read: async () => (await AutoTokenizer.from_pretrained(folder)).encode('Hello'),
    };
  },
  "a GGUF file's tokenizer": async () => {
    const path = await ggufModel();
    const mutate = (bytes: Buffer, random: Random) => Buffer.concat([mutated(bytes.subarray(0, 12_000), random), bytes.subarray(12_000)]);
    return { bytes: readFileSync(path), path, mutate, read: async () => (await AutoTokenizer.from_pretrained(path)).encode('Hello') };
  },
  'config.json': () => inModel('config.json', mutatedJsonText),
  "a model's generation_config.json": () => inModel('generation_config.json', mutatedJsonText),
  "a model's safetensors": () => inModel('model.safetensors', mutatedHeader),
  'a GGUF model': async () => {
    const path = await ggufModel();
    const mutate = (bytes: Buffer, random: Random) => Buffer.concat([mutated(bytes.subarray(0, 12_000), random), bytes.subarray(12_000)]);
    const read = async () => (await AutoModelForCausalLM.from_pretrained(path, { progress: false })).dispose();
    return { bytes: readFileSync(path), path, mutate, read };
  },
  'adapter_config.json': () => inAdapter('adapter_config.json', mutatedJsonText),
  "an adapter's safetensors": () => inAdapter('adapter_model.safetensors', mutatedHeader),
  'a GGUF adapter': () => inAdapter('adapter.gguf', mutated),
};
