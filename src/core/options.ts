import { nearest, OptionError } from './errors';
import { warnOnce } from './events';

/** One of these names, which editors offer, or any other text: what it is worth is said when it is read. */
export type Known<T extends string> = T | (string & {});

/** A name that older tutorials use, and what became of it. */
export interface Alias {
  /** null: nothing became of it, for the reason in `why`. */
  to: string | null;
  why?: string;
  /** It is refused, with what it would do, where its value is not `unused`. */
  would?: string;
  unused?: unknown;
  /** Turns the old option's value into the new one's. */
  convert?: (value: unknown) => unknown;
}

/** What people call options, without underscores, and which ones they mean by it. */
const MEANT: Readonly<Record<string, readonly string[]>> = {
  ...{ rank: ['r'], lorarank: ['r'], lorar: ['r'], alpha: ['lora_alpha'], dropout: ['lora_dropout'] },
  ...{ modules: ['target_modules'], targets: ['target_modules'], layers: ['layers_to_transform'] },
  ...{ lr: ['learning_rate'], epochs: ['num_train_epochs'], numepochs: ['num_train_epochs'], steps: ['max_steps'] },
  ...{ batchsize: ['per_device_train_batch_size'], trainbatchsize: ['per_device_train_batch_size'] },
  ...{ evalbatchsize: ['per_device_eval_batch_size'], gradaccum: ['gradient_accumulation_steps'] },
  ...{ scheduler: ['lr_scheduler_type'], schedule: ['lr_scheduler_type'], optimizer: ['optim'], warmup: ['warmup_steps'] },
  ...{ output: ['output_dir'], outdir: ['output_dir'], folder: ['output_dir'], clip: ['max_grad_norm'], gradclip: ['max_grad_norm'] },
  ...{ maxtokens: ['max_new_tokens', 'max_length'], temp: ['temperature'], sample: ['do_sample'] },
  ...{ dataset: ['train_dataset'], data: ['train_dataset'], config: ['args', 'peft_config'], lora: ['peft_config'] },
  ...{ bits: ['load_in_4bit'], quanttype: ['bnb_4bit_quant_type'], files: ['data_files'] },
};

/**
 * Options as given by a user over their defaults. An old name is taken with one warning; an unknown one is an error that
 * offers the nearest name.
 */
export function readOptions<T extends object>(
  owner: string,
  given: object | undefined,
  defaults: T,
  aliases: Record<string, Alias> = {},
): T {
  const options = { ...defaults } as Record<string, unknown>;
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined) continue;
    if (Object.hasOwn(defaults, name)) {
      options[name] = value;
      continue;
    }
    const alias = Object.hasOwn(aliases, name) ? aliases[name] : undefined;
    if (alias?.would) {
      if (value === alias.unused || value === null) continue;
      throw new OptionError(
        `${owner}: ${name} = ${show(value)} is an option of the Python original that tunebook does not have: it would ${alias.would}. Leave it out.`,
      );
    }
    if (alias && alias.to === null) {
      warnOnce(`${owner}: the option ${name} has no effect: ${alias.why}.`);
      continue;
    }
    if (alias?.to) {
      warnOnce(`${owner}: the option ${name} is now called ${alias.to}; it is taken as that.`);
      options[alias.to] = alias.convert ? alias.convert(value) : value;
      continue;
    }
    const plain = name.toLowerCase().replaceAll(/[_-]/g, '');
    const meant = Object.hasOwn(MEANT, plain) ? MEANT[plain].find((option) => Object.hasOwn(defaults, option)) : undefined;
    const guess = meant ?? nearest(name, [...Object.keys(defaults), ...Object.keys(aliases)]);
    throw new OptionError(
      `${owner} has no option ${name} (value ${show(value)}). ` +
        (guess ? `Did you mean ${aliases[guess]?.to ?? guess}?` : `Its options are ${Object.keys(defaults).join(', ')}.`),
    );
  }
  return options as T;
}

/** A value as it looks in an error: short, strings in quotes. */
export function show(value: unknown): string {
  const text =
    typeof value === 'string' ? `'${value}'` : typeof value === 'function' ? 'a function' : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77).replace(/[\ud800-\udbff]$/, '')}...` : text;
}

/** Fails where one of these options is neither true nor false. */
export function checkFlags<O extends object>(owner: string, o: O, ...names: (keyof O & string)[]): void {
  for (const name of names)
    if (typeof o[name] !== 'boolean') throw new OptionError(`${owner}: ${name} = ${show(o[name])} must be true or false.`);
}

/** Checks one number and says what is wrong with it. */
export function checkNumber(
  owner: string,
  name: string,
  value: unknown,
  rule: { integer?: boolean; min?: number; above?: number; below?: number; max?: number },
  remedy: string,
): void {
  const fits =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (!rule.integer || Number.isInteger(value)) &&
    (rule.min === undefined || value >= rule.min) &&
    (rule.max === undefined || value <= rule.max) &&
    (rule.above === undefined || value > rule.above) &&
    (rule.below === undefined || value < rule.below);
  if (fits) return;
  const wants = [
    rule.integer ? 'a whole number' : 'a number',
    rule.min !== undefined ? `of at least ${rule.min}` : '',
    rule.above !== undefined ? `greater than ${rule.above}` : '',
    rule.max !== undefined ? `of at most ${rule.max}` : '',
    rule.below !== undefined ? `below ${rule.below}` : '',
  ];
  throw new OptionError(`${owner}: ${name} must be ${wants.filter(Boolean).join(' ')}, but is ${show(value)}. ${remedy}`);
}

/** An OptionError where a value is none of those that there are; it offers the one that is most like it. */
export function checkOneOf(owner: string, name: string, value: unknown, values: readonly string[]): void {
  if (values.includes(value as string)) return;
  const guess = typeof value === 'string' ? nearest(value, values) : undefined;
  throw new OptionError(
    `${owner}: ${name} = ${show(value)} is not one of ${values.join(', ')}.${guess ? ` Did you mean ${show(guess)}?` : ''}`,
  );
}
