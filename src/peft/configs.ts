import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { readJson } from '../formats/json';
import { readSafetensors } from '../formats/safetensors';
import { SHARED_FIELDS } from './fields';
import { ggufConfig } from './gguf';
import { type BaseModel, PeftConfig, type PeftMethod } from './method';
import * as methods from './methods';

/** The methods by their peft_type. */
const METHODS: Record<string, PeftMethod> = Object.fromEntries(
  Object.values(methods).map((method) => [method.spec.peft_type, method as unknown as PeftMethod]),
);

/** The method of a peft_type; an error says which there are. */
function methodOf(type: unknown, fault: (text: string) => Error): PeftMethod {
  const method = typeof type === 'string' && Object.hasOwn(METHODS, type) ? METHODS[type] : undefined;
  if (!method) throw fault(`a ${show(type)} adapter; tunebook has ${Object.keys(METHODS).join(', ')} so far.`);
  return method;
}

/** A config of what a user gives: one, or options with their peft_type. */
export function configOf(given: unknown): PeftConfig {
  if (given instanceof PeftConfig) return given;
  const { peft_type = 'LORA', ...options } = (given ?? {}) as Record<string, unknown>;
  return new (methodOf(peft_type, (text) => new OptionError(text)))(options);
}

/** The config of a saved adapter: of a folder, or for this model of llama.cpp's file. */
export async function configIn(folder: string, model?: BaseModel): Promise<PeftConfig> {
  if (model && folder.endsWith('.gguf')) return ggufConfig(folder, model);
  const path = join(folder, 'adapter_config.json');
  if (!existsSync(path))
    throw new FileError(
      `${folder} has no adapter_config.json: it is not a saved adapter. A folder written by save_pretrained or trainer.save_model() is expected.`,
    );
  const json = await readJson(path);
  const method = methodOf(json.peft_type, (text) => new FileError(`${folder} holds ${text}`));
  try {
    const config = savedConfig(method, json, path);
    await checkRanks(config, folder);
    return config;
  } catch (error) {
    if (error instanceof OptionError) throw new FileError(`The adapter in ${folder} cannot be used. ${error.message}`);
    throw error;
  }
}

/** What says how large an adapter's tensors are, and which of their dimensions it is: a number beyond all of the file's would only take memory. */
const SIZES: { of(config: Record<string, unknown>): [name: string, value: unknown][]; tensor: RegExp; dimension: number }[] = [
  {
    of: ({ r, rank_pattern }) => [
      ['r', r],
      ...Object.entries(rank_pattern ?? {}).map(([key, value]): [string, unknown] => [`rank_pattern[${show(key)}]`, value]),
    ],
    tensor: /\.lora_(embedding_)?A(\.weight)?$/,
    dimension: 0,
  },
  { of: ({ num_virtual_tokens: tokens }) => [['num_virtual_tokens', tokens]], tensor: /^prompt_embeddings$/, dimension: 0 },
];

/** Refuses a config that does not fit the tensors beside it, before memory is taken for what it says. */
async function checkRanks(config: PeftConfig, folder: string): Promise<void> {
  const path = join(folder, 'adapter_model.safetensors');
  if (!existsSync(path)) return;
  const tensors = [...(await readSafetensors(path)).tensors.values()];
  for (const { of, tensor, dimension } of SIZES) {
    const there = tensors.filter(({ name }) => tensor.test(name)).map(({ shape }) => shape[dimension] ?? 0);
    if (!there.length) continue;
    const most = Math.max(...there);
    for (const [name, value] of of({ ...config }))
      if (typeof value === 'number' && value > most)
        throw new FileError(`The adapter in ${folder} is damaged: ${name} is ${value}, but its file has at most ${most}. Get it again.`);
  }
}

/** Fields of later versions of PEFT are passed over with a warning. */
function savedConfig(method: PeftMethod, json: Record<string, unknown>, path: string): PeftConfig {
  const { defaults, fields = {} } = method.spec;
  const known: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(json))
    if ([defaults, fields, SHARED_FIELDS].some((names) => Object.hasOwn(names, name)) || name === 'peft_type') known[name] = value;
    else warnOnce(`${path}: the option ${name} is newer than this version of tunebook and is ignored.`);
  return new method({ ...known, inference_mode: false }, true);
}
