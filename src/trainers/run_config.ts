import { nearest, OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { concatenate_datasets } from '../data/combine';
import type { Dataset } from '../data/dataset';
import { type LoadDatasetOptions, load_dataset } from '../data/load_dataset';
import { AutoModelForCausalLM, AutoTokenizer } from '../models/auto';
import type { CausalLM } from '../models/causal_lm';
import { configOf } from '../peft/configs';
import { LoraConfig } from '../peft/lora';
import type { PeftConfig } from '../peft/method';
import { BitsAndBytesConfig } from '../quantize';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { RUN_ALIASES, RUN_DEFAULTS, type RunOptions } from './run_options';

type Config = Record<string, unknown>;
const isMine = (name: string) => Object.hasOwn(RUN_DEFAULTS, name) || Object.hasOwn(RUN_ALIASES, name);

/** A flat configuration in two: what the run is made of, and the training options, whose names are `known`. A name that is neither is told by the nearest. */
export function splitConfig(owner: string, config: Config, known: readonly string[]): { run: RunOptions; training: Config } {
  const [mine, training]: Config[] = [{}, {}];
  for (const [name, value] of Object.entries(config)) {
    if (isMine(name)) mine[name] = value;
    else if (known.includes(name)) training[name] = value;
    else {
      const names = [...Object.keys(RUN_DEFAULTS), ...known];
      const guess = nearest(name, names);
      throw new OptionError(
        `${owner} has no option ${name} (value ${show(value)}). ${guess ? `Did you mean ${guess}?` : `Its options are ${names.join(', ')}.`}`,
      );
    }
  }
  const run = readOptions(owner, mine, RUN_DEFAULTS, RUN_ALIASES);
  if (!run.model_name_or_path) throw new OptionError(`${owner} needs model_name_or_path: a name of the Hub, a folder, or a .gguf file.`);
  if (!run.dataset_name && !run.datasets.length)
    throw new OptionError(`${owner} needs dataset_name (a name, a file or a folder), or a list of datasets.`);
  if (run.load_in_4bit && run.load_in_8bit) throw new OptionError(`${owner}: of load_in_4bit and load_in_8bit one can be true.`);
  refuseIdle(owner, run);
  return { run, training };
}

const ADAPTER = [
  ...(['lora_r', 'lora_alpha', 'lora_dropout', 'lora_target_modules', 'lora_modules_to_save', 'use_rslora', 'use_dora'] as const),
];
/** Options that say nothing beside, or without, others. */
const IDLE: { names: readonly (keyof RunOptions)[]; when(run: RunOptions): boolean; why: string }[] = [
  {
    names: ['dataset_name', 'dataset_config', 'dataset_train_split', 'dataset_test_split'],
    when: ({ datasets }) => datasets.length > 0,
    why: 'beside datasets, each of which has its own path, name and split. Leave one of the two out',
  },
  {
    names: ['test_split_size'],
    when: ({ datasets }) => !datasets.length,
    why: "beside dataset_name, whose rows for evaluation are a split: dataset_test_split: 'train[90%:]', say. Leave it out, or name the rows under datasets",
  },
  {
    names: ['use_peft', ...ADAPTER],
    when: ({ peft_config }) => peft_config !== null,
    why: 'beside peft_config, which says what the adapter is. Leave one of the two out',
  },
  {
    names: ADAPTER,
    when: ({ use_peft, peft_config }) => !use_peft && peft_config === null,
    why: 'without use_peft: true; all weights would be trained',
  },
  {
    names: ['bnb_4bit_quant_type', 'use_bnb_nested_quant'],
    when: ({ load_in_4bit }) => !load_in_4bit,
    why: 'without load_in_4bit: true',
  },
];

/** Fails where an option is set that would have no effect. */
function refuseIdle(owner: string, run: RunOptions): void {
  for (const { names, when, why } of IDLE) {
    const name = when(run) && names.find((one) => run[one] !== RUN_DEFAULTS[one]);
    if (name) throw new OptionError(`${owner}: ${name} = ${show(run[name])} has no effect ${why}.`);
  }
}

/** The adapter that a configuration asks for; null where all weights are trained. */
export function adapterOf(run: RunOptions): PeftConfig | null {
  if (run.peft_config) return configOf(run.peft_config);
  if (!run.use_peft) return null;
  const given = [run.lora_target_modules ?? []].flat();
  // A list of one may be a pattern or 'all-linear', which PEFT takes as a text alone.
  const target_modules = given.length === 1 && (given[0] === 'all-linear' || /[^\w.]/.test(given[0])) ? given[0] : given;
  return new LoraConfig({
    r: run.lora_r,
    lora_alpha: run.lora_alpha,
    lora_dropout: run.lora_dropout,
    target_modules: given.length ? target_modules : null,
    modules_to_save: run.lora_modules_to_save,
    use_rslora: run.use_rslora,
    use_dora: run.use_dora,
  });
}

/** How the model is packed while it is loaded. */
function packing(run: RunOptions): BitsAndBytesConfig | null {
  if (!run.load_in_4bit && !run.load_in_8bit) return null;
  return new BitsAndBytesConfig({
    load_in_4bit: run.load_in_4bit,
    load_in_8bit: run.load_in_8bit,
    ...(run.load_in_4bit && { bnb_4bit_quant_type: run.bnb_4bit_quant_type, bnb_4bit_use_double_quant: run.use_bnb_nested_quant }),
  });
}

/** One data set of a mixture. */
async function partOf(given: Config): Promise<Dataset> {
  const { path, split, columns, ...how } = readOptions<Config>('datasets', given, {
    ...{ path: null, name: null, data_dir: null, data_files: null, split: 'train', columns: null },
  });
  if (typeof path !== 'string') throw new OptionError(`datasets: each needs a path, but one is ${show(given)}.`);
  const rows = await load_dataset(path, { ...(how as LoadDatasetOptions), split: String(split) });
  if (columns === null) return rows;
  return rows.select_columns(columns as string[]);
}

type Rows = { train_dataset: Dataset; eval_dataset: Dataset | null };

async function rowsOf(run: RunOptions, evaluates: boolean): Promise<Rows> {
  if (run.datasets.length) {
    const parts: Dataset[] = [];
    for (const given of run.datasets) parts.push(await partOf(given));
    const all = parts.length === 1 ? parts[0] : concatenate_datasets(parts);
    if (run.test_split_size === null) return { train_dataset: all, eval_dataset: null };
    const { train, test } = all.train_test_split({ test_size: run.test_split_size });
    return { train_dataset: train, eval_dataset: evaluates ? test : null };
  }
  const name = run.dataset_name as string;
  const load = (split: string) => load_dataset(name, { name: run.dataset_config, split });
  const train_dataset = await load(run.dataset_train_split);
  return { train_dataset, eval_dataset: evaluates ? await load(run.dataset_test_split) : null };
}

/** What a trainer is made of: the model, its tokenizer and the rows are loaded. */
export async function partsOf(
  run: RunOptions,
  evaluates: boolean,
): Promise<{ model: CausalLM; processing_class: Tokenizer; peft_config: PeftConfig | null } & Rows> {
  const peft_config = adapterOf(run);
  const rows = await rowsOf(run, evaluates); // first, since a name that is wrong is soon told
  const name = run.model_name_or_path as string;
  const quantization_config = packing(run);
  const find = { revision: run.model_revision };
  const dtype = run.dtype ?? (peft_config ? 'auto' : 'float32');
  const model = await AutoModelForCausalLM.from_pretrained(name, { ...find, dtype, quantization_config });
  return { model, processing_class: await AutoTokenizer.from_pretrained(name, find), peft_config, ...rows };
}
