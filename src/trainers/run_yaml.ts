import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { parseDocument, stringify } from 'yaml';
import { FileError } from '../core/errors';
import { show } from '../core/options';
import { Dataset } from '../data/dataset';
import type { IterableDataset } from '../data/iterable_dataset';
import { type Origin, originOf } from '../data/origin';
import type { Asked } from '../models/asked';
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

/** Values of options that are not null, as a comment names them. */
const named = (options: object): string =>
  Object.entries(options)
    .flatMap(([name, value]) => (value === null || value === '' ? [] : `${name} = ${show(value)}`))
    .join(', ');

const sameSet = (a: Origin, b: Origin) => isDeepStrictEqual([a.dataset, a.choice, a.reading], [b.dataset, b.choice, b.reading]);

/** The keys that say which rows there are; `note` takes what none says. */
function rowKeys({ train_dataset, eval_dataset, args }: Described, note: (text: string) => void): Config {
  const [train, test] = [originOf(train_dataset), eval_dataset ? originOf(eval_dataset) : undefined];
  if (!train) note("The rows were made in code: save them (a line of JSON each) and give the file's path as dataset_name.");
  if (!(train_dataset instanceof Dataset))
    note(`The rows came from a stream, of which the first that max_steps takes are learned${train ? '; here all are read' : ''}.`);
  if (!train) return {};
  const { dataset: path, split, choice, reading } = train;
  if (named(reading))
    note(`How the rows are read no key says (${named(reading)}): save them with to_json, and give that file's path as dataset_name.`);
  if (choice.data_files !== null || choice.data_dir !== null) {
    if (eval_dataset)
      note(
        `Of datasets no key says which rows are evaluated on${args.eval_strategy ? `, as eval_strategy: ${args.eval_strategy} wants` : ''}: test_split_size keeps some of the rows for that.`,
      );
    return { datasets: [{ path, ...Object.fromEntries(Object.entries(choice).filter(([, value]) => value !== null)), split }] };
  }
  if (eval_dataset && (!test || !sameSet(test, train)))
    note('The rows for evaluation were made in code or come from elsewhere: they must be a split of dataset_name (dataset_test_split).');
  return {
    dataset_name: path,
    ...(choice.name !== null && { dataset_config: choice.name }),
    ...(split !== 'train' && { dataset_train_split: split }),
    ...(test && test.split !== 'test' && { dataset_test_split: test.split }),
  };
}

/** What of the model's loading a key says. */
function modelKeys({ asked, peft_config, model }: Described, note: (text: string) => void): Config {
  const { load_in_4bit, load_in_8bit, bnb_4bit_quant_type, bnb_4bit_use_double_quant } = model.quantization ?? {};
  const { dtype, revision, ...part } = asked ?? { dtype: null, revision: null };
  if (named(part)) note(`Which part of ${model.name} the model is no key says (${named(part)}): give its path as model_name_or_path.`);
  const usual = peft_config ? 'auto' : 'float32';
  return {
    model_name_or_path: model.name,
    ...(revision !== null && revision !== RUN_DEFAULTS.model_revision && { model_revision: revision }),
    ...(dtype !== null && dtype !== usual && { dtype }),
    ...(load_in_8bit ? { load_in_8bit: true } : {}),
    ...(load_in_4bit ? { load_in_4bit: true, bnb_4bit_quant_type } : {}),
    ...(load_in_4bit && bnb_4bit_use_double_quant ? { use_bnb_nested_quant: true } : {}),
  };
}

/** What a file can say in the place of code. */
const INSTEAD: Record<string, string> = {
  formatting_func: 'save the texts that it makes of the rows (Dataset.map, to_json) and give that file as dataset_name',
  train_on_responses_only: 'rows of {messages} with assistant_only_loss: true learn answers alone too',
};

/** What a run is made of, for its YAML. */
export interface Described {
  model: { name: string; quantization?: Config };
  /** How the model was asked for; undefined for one that was made in code. */
  asked?: Asked;
  peft_config: PeftConfig | null;
  train_dataset: Dataset | IterableDataset;
  eval_dataset: Dataset | null;
  /** Training options that are not at their defaults. */
  args: Config;
  /** What else the run is made of, that no key can say. */
  inCode: readonly string[];
  /** Whether the trainer was given a model that wore an adapter, and one with other rows for tokens than its files have. */
  worn: boolean;
  resized: boolean;
}

/** A run as a configuration that `npx tunebook sft --config` and `trl sft --config` read. What no key can say is a comment. */
export function runYaml(run: Described): string {
  const notes: string[] = [];
  const note = (text: string) => notes.push(text);
  const config = { ...modelKeys(run, note), ...rowKeys(run, note), ...adapterKeys(run.peft_config), ...run.args };
  if (run.worn)
    note('The model wore its adapter when the trainer got it: a run of this file begins with a fresh one of the same settings.');
  if (run.resized)
    note(
      'The model has other rows for tokens than its files (resize_token_embeddings): save it with its tokenizer, and give that folder as model_name_or_path.',
    );
  for (const name of run.inCode) note(`${name} is code, which no key can say: ${INSTEAD[name] ?? 'a run of this file goes without it'}.`);
  return `${notes.map((text) => `# ${text}\n`).join('')}${stringify(config, { lineWidth: 0 })}`;
}
