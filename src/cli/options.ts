import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { parse } from 'yaml';

/** An option as its interface declares it. */
interface Declared {
  name: string;
  about: string;
  type: string;
}

/** The options of an interface, with their docstrings: of `train/options`, say. They are read where they are declared, so that help says what the editor says. */
export function declared(file: string, name: string): Declared[] {
  const path = ['.d.ts', '.ts'].map((end) => join(__dirname, '..', `${file}${end}`)).find((one) => existsSync(one)) as string;
  const text = readFileSync(path, 'utf8');
  const from = text.search(new RegExp(`interface ${name}\\b`));
  if (from < 0) throw new Error(`${file} declares no ${name}`);
  const body = text.slice(from, text.indexOf('\n}', from));
  return [...body.matchAll(/\/\*\*((?:[^*]|\*(?!\/))*)\*\/\s*(\w+)\??: ([^;]+);/g)].map(([, about, option, type]) => ({
    name: option,
    about: about.replaceAll(/\s*\n\s*\*\s?/g, ' ').trim(),
    type: type.trim(),
  }));
}

/** A value as a configuration file has it: numbers, true, false, null and lists are what they look like; what can only be a text stays one. */
function readValue(text: string, type: string): unknown {
  const textOnly = /string|Known/.test(type) && !/number|boolean|Record|\[\]/.test(type);
  if (textOnly) return text === 'null' && type.includes('null') ? null : text;
  try {
    return parse(text);
  } catch {
    return text;
  }
}

/**
 * Adds options by their declarations: `--max_steps 100`, `--packing`, `--packing false`, `--lora_target_modules q_proj v_proj`. `more` are names
 * that are taken too and that help does not list. Of an option that is declared twice the first counts.
 */
export function addOptions(command: Command, options: readonly Declared[], more: readonly string[] = []): void {
  const seen = new Set<string>();
  const hidden = more.map((name) => ({ name, about: '', type: 'unknown' }));
  for (const { name, about, type } of [...options, ...hidden]) {
    if (seen.has(name)) continue;
    seen.add(name);
    const isList = type.includes('[]');
    const value = /^boolean|^unknown/.test(type) ? '[value]' : isList ? '<values...>' : '<value>';
    const option = new Option(`--${name} ${value}`, about).hideHelp(type === 'unknown');
    option.argParser((given: string, before: unknown) => {
      const read = readValue(given, type);
      return isList && Array.isArray(before) ? [...before, read].flat() : isList ? [read].flat() : read;
    });
    if (value === '[value]') option.preset('true');
    command.addOption(option);
  }
}

/** Arguments with the names of options as they are declared: `--max-steps` is --max_steps, and `--no_shuffle` is --shuffle false, as in Python's parser. */
export function plainNames(argv: readonly string[], command: Command): string[] {
  const known = new Set(command.options.map(({ long }) => long));
  const end = argv.indexOf('--');
  return argv.flatMap((arg, i) => {
    const [, name, value = ''] = arg.match(/^--([A-Za-z][\w-]*)(=.*)?$/s) ?? [];
    if (!name || (end >= 0 && i >= end)) return [arg];
    const plain = `--${name.replaceAll('-', '_')}`;
    const off = plain.replace(/^--no_/, '--');
    if (!known.has(plain) && off !== plain && known.has(off)) return [off, 'false'];
    return [`${plain}${value}`];
  });
}
