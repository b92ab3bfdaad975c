import { join, posix } from 'node:path';
import { FileError, nearest } from '../core/errors';
import { readJson } from '../formats/json';
import { staysInside } from './repo';
import type { Shelf } from './shelf';

/** Which files of a repository a load needs: no more are fetched, and none that would run code. */

const [WHOLE, INDEX] = ['model.safetensors', 'model.safetensors.index.json'];
const PICKLES = /(^|\/)(pytorch_model.*\.bin|adapter_model\.bin|.*\.(pt|pth|ckpt|pkl))$/;
const SPLIT = /-(\d{5})-of-(\d{5})\.gguf$/;

export interface Found {
  path: string;
  kind: 'gguf' | 'folder';
}

/** The files of a folder inside the repository ('' of all), by their names in it. */
const within = (shelf: Shelf, subfolder: string): Set<string> => {
  const start = subfolder ? `${subfolder.replace(/\/+$/, '')}/` : '';
  return new Set(shelf.files.flatMap((file) => (file.startsWith(start) ? [file.slice(start.length)] : [])));
};

const at = (subfolder: string, files: string[]): string[] => files.map((file) => posix.join(subfolder, file));

/** Takes those of the files that are there, and notes the others. */
async function takeThose(shelf: Shelf, subfolder: string, files: string[], there: Set<string>): Promise<void> {
  await shelf.take(
    at(
      subfolder,
      files.filter((file) => there.has(file)),
    ),
  );
  await shelf.lacks(
    at(
      subfolder,
      files.filter((file) => !there.has(file)),
    ),
  );
}

const some = (files: Iterable<string>): string => {
  const all = [...files];
  return `${all.slice(0, 6).join(', ')}${all.length > 6 ? ', ...' : ''}` || 'no file';
};

/** The GGUF file that is meant, with all parts of a split one. */
async function takeGguf(shelf: Shelf, subfolder: string, there: Set<string>, wanted: string | null): Promise<Found> {
  const all = [...there].filter((file) => file.endsWith('.gguf')).sort();
  if (wanted !== null && !there.has(wanted)) {
    const guess = nearest(wanted, all);
    throw new FileError(`${shelf.name} has no ${wanted}; it has ${some(all)}.${guess ? ` Did you mean ${guess}?` : ''}`);
  }
  const first = all.filter((file) => !SPLIT.test(file) || file.match(SPLIT)?.[1] === '00001');
  if (wanted === null && first.length > 1)
    throw new FileError(
      `${shelf.name} has ${first.length} GGUF files, of other precisions; say which one: gguf_file: '${first[0]}'. They are ${first.join(', ')}.`,
    );
  const file = wanted ?? first[0];
  const parts = SPLIT.test(file) ? all.filter((part) => SPLIT.test(part) && part.replace(SPLIT, '') === file.replace(SPLIT, '')) : [file];
  await shelf.take(at(subfolder, parts));
  return { path: join(shelf.folder, subfolder, parts[0]), kind: 'gguf' };
}

/** config.json with the safetensors files that it or the index names, or a GGUF file. */
export async function takeModel(shelf: Shelf, subfolder: string, gguf_file: string | null): Promise<Found> {
  const there = within(shelf, subfolder);
  const hasGguf = [...there].some((file) => file.endsWith('.gguf'));
  if (gguf_file !== null) return takeGguf(shelf, subfolder, there, gguf_file);
  if (!there.has('config.json')) {
    if (hasGguf) return takeGguf(shelf, subfolder, there, null);
    if (there.has('adapter_config.json')) throw await isAdapter(shelf, subfolder);
    throw new FileError(`${shelf.name} holds no model: there is neither a config.json nor a .gguf file. It has ${some(there)}.`);
  }
  await takeThose(shelf, subfolder, ['config.json', 'generation_config.json'], there);
  const folder = join(shelf.folder, subfolder);
  const { transformers_weights: named } = await readJson(join(folder, 'config.json'));
  const file = typeof named === 'string' ? named : [WHOLE, INDEX].find((name) => there.has(name));
  if (!file || !there.has(file)) {
    if (hasGguf) return takeGguf(shelf, subfolder, there, null);
    throw noWeights(shelf, there);
  }
  await shelf.take(at(subfolder, [file]));
  if (file.endsWith('.index.json')) {
    const { weight_map } = await readJson(join(folder, file));
    const shards = [...new Set(Object.values((weight_map ?? {}) as Record<string, unknown>))];
    const wrong = shards.find((shard) => typeof shard !== 'string' || !staysInside(shard));
    if (wrong !== undefined)
      throw new FileError(`${shelf.name}: ${file} names a file ${JSON.stringify(wrong)}, which leads out of its folder. Do not trust it.`);
    await shelf.take(at(subfolder, shards as string[]));
  }
  return { path: folder, kind: 'folder' };
}

function noWeights(shelf: Shelf, there: Set<string>): FileError {
  const pickled = [...there].find((file) => PICKLES.test(file));
  return new FileError(
    pickled
      ? `${shelf.name} has its weights in ${pickled} only, a pickle, whose reading would run code; it was not fetched. The Hub may have offered a safetensors version as a pull request: try revision: 'refs/pr/1'. ` +
          "Else convert it with Python's transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)."
      : `${shelf.name} has no ${WHOLE} and no ${INDEX}: it has ${some(there)}.`,
  );
}

async function isAdapter(shelf: Shelf, subfolder: string): Promise<FileError> {
  await shelf.take(at(subfolder, ['adapter_config.json']));
  const { base_model_name_or_path: base } = await readJson(join(shelf.folder, subfolder, 'adapter_config.json'));
  return new FileError(
    `${shelf.name} holds an adapter and no model. Load its base first: const model = await AutoModelForCausalLM.from_pretrained('${String(base)}'), then await PeftModel.from_pretrained(model, ...).`,
  );
}

const TOKENIZER = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json', 'chat_template.jinja'];
/** What a tokenizer is made of where there is no tokenizer.json. */
const OLDER = ['tokenizer.model', 'spiece.model', 'spm.model', 'vocab.json', 'merges.txt', 'vocab.txt'];

/** The files of a tokenizer, or the GGUF file that has one inside. */
export async function takeTokenizer(shelf: Shelf, subfolder: string, gguf_file: string | null): Promise<Found> {
  const there = within(shelf, subfolder);
  const has = (files: string[]) => files.some((file) => there.has(file));
  if (gguf_file !== null || (!has(['tokenizer.json', ...OLDER]) && [...there].some((file) => file.endsWith('.gguf'))))
    return takeGguf(shelf, subfolder, there, gguf_file);
  if (!has(['tokenizer.json', ...OLDER])) throw new FileError(`${shelf.name} has no tokenizer.json. It has ${some(there)}.`);
  const templates = [...there].filter((file) => /^additional_chat_templates\/[^/]+\.jinja$/.test(file));
  const older = there.has('tokenizer.json') ? [] : OLDER.filter((file) => there.has(file));
  await takeThose(shelf, subfolder, [...TOKENIZER, ...templates, ...older], there);
  return { path: join(shelf.folder, subfolder), kind: 'folder' };
}

/** An adapter's two files. */
export async function takeAdapter(shelf: Shelf, subfolder: string): Promise<string> {
  const there = within(shelf, subfolder);
  const [config, weights] = ['adapter_config.json', 'adapter_model.safetensors'];
  if (!there.has(config))
    throw new FileError(
      `${shelf.name} has no ${config}${subfolder ? ` in ${subfolder}` : ''}: it is no adapter. ` +
        (there.has('config.json') ? 'It is a model: AutoModelForCausalLM.from_pretrained loads it.' : `It has ${some(there)}.`),
    );
  if (!there.has(weights)) {
    const pickled = there.has('adapter_model.bin');
    throw new FileError(
      pickled
        ? `${shelf.name} has its weights in adapter_model.bin only, a pickle, whose reading would run code; it was not fetched. Convert it with Python's PEFT: PeftModel.from_pretrained(...).save_pretrained(...).`
        : `${shelf.name} has no ${weights}: it has ${some(there)}.`,
    );
  }
  await shelf.take(at(subfolder, [config, weights]));
  return join(shelf.folder, subfolder);
}

/** One file by its name; undefined where there is none. */
export async function takeFile(shelf: Shelf, subfolder: string, file: string): Promise<string | undefined> {
  const there = within(shelf, subfolder);
  await takeThose(shelf, subfolder, [file], there);
  return there.has(file) ? join(shelf.folder, subfolder, file) : undefined;
}

/** The files of a data set: README.md, which names its splits, and rows that `wanted` knows how to read. */
export async function takeData(shelf: Shelf, wanted: (files: string[]) => string[]): Promise<string> {
  const files = wanted(shelf.files);
  if (!files.length) throw new FileError(`${shelf.name} has no file of rows. It has ${some(shelf.files)}.`);
  await shelf.take([...files, ...shelf.files.filter((file) => file === 'README.md')]);
  return shelf.folder;
}
