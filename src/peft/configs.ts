import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { readJson } from '../formats/json';
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
    return savedConfig(method, json, path);
  } catch (error) {
    if (error instanceof OptionError) throw new FileError(`The adapter in ${folder} cannot be used. ${error.message}`);
    throw error;
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
