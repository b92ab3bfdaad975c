import { nearest, OptionError } from '../core/errors';
import { show } from '../core/options';
import { Linear, type Module } from '../nn';
import type { LoraConfig } from './config';

/** What PEFT adapts in a Llama when target_modules is not given. */
const USUAL = ['q_proj', 'v_proj'];

const ends = (path: string, name: string) => path === name || path.endsWith(`.${name}`);

/** The linear modules that a config names, by path. Every entry must match something. */
export function targetModules(model: Module, config: LoraConfig): Map<string, Linear> {
  const linears = new Map<string, Linear>();
  for (const [path, module] of model.namedModules()) if (module instanceof Linear) linears.set(path, module);
  const wanted = config.target_modules ?? USUAL;
  const found = new Set<string>();
  if (wanted === 'all-linear') {
    for (const path of linears.keys()) if (path !== 'lm_head') found.add(path);
  } else if (typeof wanted === 'string') {
    let whole: RegExp;
    try {
      whole = new RegExp(`^(?:${wanted})$`);
    } catch (error) {
      throw new OptionError(
        `LoraConfig: target_modules ${show(wanted)} is not a regular expression (${(error as Error).message}). Give a list of names or 'all-linear'.`,
      );
    }
    for (const path of linears.keys()) if (whole.test(path)) found.add(path);
    if (!found.size) throw unmatched([wanted], linears);
  } else {
    const missing = wanted.filter((name) => {
      const paths = [...linears.keys()].filter((path) => ends(path, name));
      for (const path of paths) found.add(path);
      return !paths.length;
    });
    if (missing.length || !wanted.length) throw unmatched(missing, linears);
  }
  const excluded = typeof config.exclude_modules === 'string' ? [config.exclude_modules] : (config.exclude_modules ?? []);
  for (const path of [...found]) if (excluded.some((name) => ends(path, name))) found.delete(path);
  return new Map([...linears].filter(([path]) => found.has(path)));
}

function unmatched(missing: string[], linears: Map<string, Linear>): OptionError {
  const names = [...new Set([...linears.keys()].map((path) => path.replace(/^.*\./, '')))];
  const guesses = missing.map((name) => nearest(name, names)).filter(Boolean);
  return new OptionError(
    `LoraConfig: ${missing.length ? `target_modules ${missing.map(show).join(', ')} match no linear layer of the model` : 'target_modules is empty'}. ` +
      `Its linear layers are called ${names.join(', ')}; 'all-linear' takes all but the output head.` +
      (guesses.length ? ` Did you mean ${guesses.map(show).join(', ')}?` : ''),
  );
}
