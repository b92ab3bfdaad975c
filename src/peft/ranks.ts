import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { checkNumber, show } from '../core/options';
import { endMatch } from './patterns';

/** Other ranks and alphas for some modules, by regular expressions for the ends of their names. */
export interface Patterns {
  rank_pattern: Record<string, number>;
  alpha_pattern: Record<string, number>;
}
const NAMES = ['rank_pattern', 'alpha_pattern'] as const;

export const RANK = 'The rank is the number of directions the update may use; 8 or 16 are common.';
export const ALPHA = 'It is usually r or 2 r.';

/** Checks both; one that is null becomes empty. */
export function checkPatterns(owner: string, o: Patterns): void {
  for (const name of NAMES) o[name] ??= {};
  for (const [pattern, r] of Object.entries(o.rank_pattern))
    checkNumber(owner, `rank_pattern[${show(pattern)}]`, r, { integer: true, min: 1 }, RANK);
  for (const [pattern, value] of Object.entries(o.alpha_pattern))
    checkNumber(owner, `alpha_pattern[${show(pattern)}]`, value, { above: 0 }, ALPHA);
  for (const name of NAMES) for (const pattern of Object.keys(o[name])) endMatch(pattern, name);
}

/** What an option of this name says of a module by its patterns; `fallback` where none fits. */
export function pick(name: string, patterns: Record<string, number>, module: string, fallback: number): number {
  const key = Object.keys(patterns).find((pattern) => endMatch(pattern, name)(module));
  return key === undefined ? fallback : patterns[key];
}

/** Rank and alpha of one module. */
export const picked = (o: Patterns, module: string, r: number, alpha: number): { r: number; alpha: number } => ({
  r: pick('rank_pattern', o.rank_pattern, module, r),
  alpha: pick('alpha_pattern', o.alpha_pattern, module, alpha),
});

/** Refuses a pattern of these options that fits none of the modules. Of a saved adapter the tensors say what there is: there it is a warning. */
export function checkUsed(owner: string, options: Record<string, Record<string, number>>, paths: string[], saved: boolean): void {
  for (const [name, patterns] of Object.entries(options))
    for (const pattern of Object.keys(patterns)) {
      if (paths.some(endMatch(pattern, name))) continue;
      const text = `${owner}: ${name} has ${show(pattern)}, which fits none of the adapted modules.`;
      if (!saved) throw new OptionError(text);
      warnOnce(text);
    }
}

/**
 * Refuses a rank that is above both sides of a matrix. Above one of them (of 'all-linear' k_proj often has few rows) it is taken as PEFT takes
 * it, with a word; `strict`: not where the first values are the matrix's own directions. `saved`: an adapter that there is is as it is.
 */
export function checkRank(
  owner: string,
  name: string,
  r: number,
  path: string,
  [out, into]: readonly number[],
  { saved = false, strict = false }: { saved?: boolean; strict?: boolean },
): void {
  const most = Math.min(out, into);
  if (saved || r <= most) return;
  const text = `${owner}: ${name} = ${r} is above the rank that ${path} can have: its matrix is [${out}, ${into}], so ${most} is the most`;
  if (strict || r > Math.max(out, into)) throw new OptionError(`${text}. Choose a smaller one, or leave the module out.`);
  warnOnce(`${text}, and what is above it teaches nothing more. rank_pattern sets smaller ranks for single modules.`);
}
