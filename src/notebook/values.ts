import { Dataset } from '../data/dataset';
import { datasetNames } from '../data/load_dataset';
import { knownModels } from '../hub/resolve';
import { PretrainedModel } from '../models/pretrained';
import { Embedding, Linear } from '../nn';
import { baseOf, PeftModel } from '../peft/model';

/** A string that is being written in a cell: `kernel/src/offers.ts`. */
interface Asked {
  callee?: string;
  argument?: number;
  option?: string;
  index?: string;
}

interface Offered {
  values: string[];
  /** Whether it can be a path as well. */
  files?: boolean;
}

const MODULES = /^(target_modules|exclude_modules|modules_to_save|feedforward_modules|llm_int8_skip_modules|rank_pattern|alpha_pattern)$/;
const COLUMNS = /^(dataset_text_field)$/;
const COLUMN_METHODS = /\.(remove_columns|select_columns|rename_columns?|unique|sort)$/;
const ADAPTERS = /\.(set_adapter|delete_adapter)$/;

/** The value of a dotted name; undefined where there is none, or where reading it fails. */
function valueAt(path: string | undefined, names: Record<string, unknown>): unknown {
  try {
    return path?.split('.').reduce((value: unknown, name) => (value as Record<string, unknown> | undefined)?.[name.trim()], names);
  } catch {
    return undefined;
  }
}

const valuesOf = (names: Record<string, unknown>): unknown[] => Object.keys(names).map((name) => valueAt(name, names));

/** Ends of the names of the modules that the models in the notebook have. */
function moduleNames(names: Record<string, unknown>): string[] {
  const models = valuesOf(names).flatMap((value) =>
    value instanceof PeftModel || value instanceof PretrainedModel ? baseOf<PretrainedModel>(value as PretrainedModel) : [],
  );
  const ends = models.flatMap((model) =>
    [...model.namedModules()].flatMap(([path, module]) =>
      module instanceof Linear || module instanceof Embedding ? (path.split('.').at(-1) as string) : [],
    ),
  );
  return [...new Set(ends)];
}

/** Datasets behind the names, those in splits too. */
const datasets = (names: Record<string, unknown>): Dataset[] =>
  valuesOf(names).flatMap((value) => {
    if (value instanceof Dataset) return value;
    const isPlain = typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
    return isPlain ? Object.values(value).filter((one) => one instanceof Dataset) : [];
  });

/** What a string in a cell can be, as far as the notebook's values say; undefined where they say nothing. */
export function offeredValues({ callee = '', argument, option, index }: Asked, names: Record<string, unknown>): Offered | undefined {
  const on = valueAt(index ?? callee.replace(/\.?[^.]*$/, ''), names);
  if (index !== undefined) {
    if (on instanceof Dataset) return { values: on.column_names };
    return typeof on === 'object' && on !== null && Object.getPrototypeOf(on) === Object.prototype
      ? { values: Object.keys(on) }
      : undefined;
  }
  if (option !== undefined) {
    if (MODULES.test(option)) return { values: [...(option === 'target_modules' ? ['all-linear'] : []), ...moduleNames(names)] };
    if (COLUMNS.test(option)) return { values: [...new Set(datasets(names).flatMap((dataset) => dataset.column_names))] };
    return option === 'base_model' || option === 'model' ? { values: knownModels(), files: true } : undefined;
  }
  if (on instanceof Dataset && COLUMN_METHODS.test(callee)) return { values: on.column_names };
  if (on instanceof PeftModel && ADAPTERS.test(callee)) return { values: Object.keys(on.peft_config) };
  if (/(^|\.)from_pretrained$/.test(callee) && argument === 0) return { values: knownModels(), files: true };
  if (/(^|\.)pipeline$/.test(callee)) return argument === 1 ? { values: knownModels(), files: true } : { values: ['text-generation'] };
  return /(^|\.)load_dataset$/.test(callee) && argument === 0 ? { values: datasetNames(), files: true } : undefined;
}
