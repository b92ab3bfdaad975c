import { readFileSync } from 'node:fs';
import { parseDocument, stringify } from 'yaml';
import { FileError } from '../core/errors';
import type { Dataset } from '../data/dataset';
import { type Origin, originOf } from '../data/origin';
import { LoraConfig } from '../peft/lora';
import type { PeftConfig } from '../peft/method';
import { RUN_DEFAULTS } from './run_options';

type Config = Record<string, unknown>;

/** A configuration out of YAML (or JSON, which is YAML); `where` is what it is called in errors. */
export function readYaml(text: string, where: string): Config {
  const document = parseDocument(text);
  if (document.errors.length) throw new FileError(`${where} is no YAML: ${document.errors[0].message.replaceAll(/\s*\n\s*/g, ' ')}`);
  const value: unknown = document.toJS() ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new FileError(`${where} must hold options, a line each: max_steps: 100.`);
  return value as Config;
}

/** A configuration file. */
export function readYamlFile(path: string): Config {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new FileError(`The configuration ${path} cannot be read: ${(error as Error).message}`);
  }
  return readYaml(text, path);
}

/** Sets the environment variables that a configuration names under `env`, as TRL does, and gives back the rest. */
export function takeEnv({ env, ...config }: Config, where: string): Config {
  if (env === undefined) return config;
  if (!env || typeof env !== 'object' || Array.isArray(env)) throw new FileError(`${where}: env must hold names and values.`);
  for (const [name, value] of Object.entries(env)) process.env[name] = String(value);
  return config;
}

/** An adapter by TRL's keys where these say it all, else in PEFT's words. */
function adapterKeys(config: PeftConfig | null): Config {
  if (!config) return {};
  const { base_model_name_or_path: _, ...all } = { ...config } as unknown as Config;
  const { defaults } = (config.constructor as unknown as { spec: { defaults: Config } }).spec;
  const set = Object.entries(all).filter(
    ([name, value]) => Object.hasOwn(defaults, name) && JSON.stringify(value) !== JSON.stringify(defaults[name]),
  );
  const own = Object.fromEntries(set);
  const named = { r: 'lora_r', lora_alpha: 'lora_alpha', lora_dropout: 'lora_dropout', target_modules: 'lora_target_modules' };
  const more = { modules_to_save: 'lora_modules_to_save', use_rslora: 'use_rslora', use_dora: 'use_dora' };
  const keys: Record<string, keyof typeof RUN_DEFAULTS> = { ...named, ...more } as never;
  if (!(config instanceof LoraConfig) || Object.keys(own).some((name) => !Object.hasOwn(keys, name)))
    return { peft_config: { peft_type: all.peft_type, ...own } };
  const values = Object.entries(keys).map(([name, key]) => [key, all[name] ?? null] as const);
  return { use_peft: true, ...Object.fromEntries(values.filter(([key, value]) => value !== RUN_DEFAULTS[key])) };
}

function rowKeys(train: Origin | undefined, test: Origin | undefined): Config {
  if (!train) return {};
  return {
    dataset_name: train.dataset,
    ...(train.name !== null && { dataset_config: train.name }),
    ...(train.split !== 'train' && { dataset_train_split: train.split }),
    ...(test && test.split !== 'test' && { dataset_test_split: test.split }),
  };
}

/** What a run is made of, for its YAML. */
export interface Described {
  model: { name: string; quantization?: Config };
  peft_config: PeftConfig | null;
  train_dataset: Dataset;
  eval_dataset: Dataset | null;
  /** Training options that are not at their defaults. */
  args: Config;
}

/** A run as a configuration that `npx tunebook sft --config` and `trl sft --config` read. What no key can say is a comment. */
export function runYaml({ model, peft_config, train_dataset, eval_dataset, args }: Described): string {
  const [train, test] = [originOf(train_dataset), eval_dataset ? originOf(eval_dataset) : undefined];
  const notes: string[] = [];
  if (!train) notes.push("The rows were made in code: save them (a line of JSON each) and give the file's path as dataset_name.");
  if (eval_dataset && (!test || test.dataset !== train?.dataset || test.name !== train?.name))
    notes.push(
      'The rows for evaluation were made in code or come from elsewhere: they must be a split of dataset_name (dataset_test_split).',
    );
  const { load_in_4bit, load_in_8bit, bnb_4bit_quant_type, bnb_4bit_use_double_quant } = model.quantization ?? {};
  const packed = {
    ...(load_in_8bit ? { load_in_8bit: true } : {}),
    ...(load_in_4bit ? { load_in_4bit: true, bnb_4bit_quant_type } : {}),
    ...(load_in_4bit && bnb_4bit_use_double_quant ? { use_bnb_nested_quant: true } : {}),
  };
  const config = { model_name_or_path: model.name, ...packed, ...rowKeys(train, test), ...adapterKeys(peft_config), ...args };
  return `${notes.map((note) => `# ${note}\n`).join('')}${stringify(config, { lineWidth: 0 })}`;
}
