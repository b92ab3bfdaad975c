import { createHash } from 'node:crypto';
import { nearest, OptionError } from '../../core/errors';
import { show } from '../../core/options';
import type { PeftConfig } from '../../peft/method';

type Values = Record<string, unknown>;

/** One run of a sweep: what is set in it, by where it belongs. */
export interface Variant {
  /** 'r=4, learning_rate=0.0001'. */
  name: string;
  /** Its folder in output_dir. */
  folder: string;
  values: Values;
  args: Values;
  peft: Values;
}

/** A value as it stands in a name: short, without quotes. */
const said = (value: unknown): string =>
  Array.isArray(value) ? value.map(said).join('+') : typeof value === 'object' && value ? JSON.stringify(value) : String(value);

/** All combinations of the values, the last option changing fastest. */
function combinations(vary: Record<string, readonly unknown[]>): Values[] {
  return Object.entries(vary).reduce<Values[]>(
    (all, [name, values]) => all.flatMap((before) => values.map((value) => ({ ...before, [name]: value }))),
    [{}],
  );
}

/** Letters of a folder's name, at most. */
const LONGEST = 120;

/** A run's folder: its name as far as file systems take it; where that is cut or its signs are lost, a hash tells it from others. */
function folderOf(name: string): string {
  const plain = name.replaceAll(', ', '_');
  const folder = plain.replaceAll(/[^\w.+=-]+/g, '-');
  if (folder === plain && folder.length <= LONGEST) return folder;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return `${folder.slice(0, LONGEST - hash.length - 1)}-${hash}`;
}

/** Options of the adapter's method, by name; none where all weights are trained. */
export const peftNames = (config: PeftConfig | null): string[] =>
  config ? Object.keys((config.constructor as unknown as { spec: { defaults: object } }).spec.defaults) : [];

/** The runs of a sweep. An option that neither the training nor the adapter has, and lists without values, are errors. */
export function variantsOf(vary: unknown, training: readonly string[], adapter: readonly string[]): Variant[] {
  if (typeof vary !== 'object' || !vary || Array.isArray(vary) || !Object.keys(vary).length)
    throw new OptionError('sweep needs vary: options with the values to try, { r: [4, 16, 64], learning_rate: [1e-4, 5e-4] }.');
  for (const [name, values] of Object.entries(vary)) {
    if (!training.includes(name) && !adapter.includes(name)) {
      const guess = nearest(name, [...adapter, ...training]);
      const lacks = adapter.length ? '' : ' (base has no peft_config)';
      throw new OptionError(
        `sweep: vary names ${name}, which is no option of the training or the adapter${lacks}.${guess ? ` Did you mean ${guess}?` : ''}`,
      );
    }
    if (!Array.isArray(values) || !values.length)
      throw new OptionError(`sweep: vary.${name} must be a list of values to try, but is ${show(values)}.`);
  }
  const variants = combinations(vary as Record<string, unknown[]>).map((values) => {
    const name = Object.entries(values)
      .map(([option, value]) => `${option}=${said(value)}`)
      .join(', ');
    const [args, peft]: Values[] = [{}, {}];
    for (const [option, value] of Object.entries(values)) (adapter.includes(option) ? peft : args)[option] = value;
    return { name, folder: folderOf(name), values, args, peft };
  });
  const folders = new Set<string>();
  for (const { name, folder } of variants) {
    if (folders.has(folder)) throw new OptionError(`sweep: two of its runs would be called ${show(name)}. Name each value once.`);
    folders.add(folder);
  }
  return variants;
}
