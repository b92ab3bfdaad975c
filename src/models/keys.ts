import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';

/**
 * What becomes of one key of a model's configuration: its reader obeys it; nothing that is computed here depends on it; it would change
 * what is computed, and is refused unless it has one of the values that mean "not used"; or it is passed over with a warning, for a reason.
 */
export type KeyUse = 'obeyed' | 'no effect' | { refused: string; unless?: unknown[] } | { ignored: string; unless?: unknown[] };
export type KeyTable = Readonly<Record<string, KeyUse>>;

/** Values that switch a thing off in whatever way files say so. */
const OFF: unknown[] = [null, undefined, false, 0, '', 'none'];

const among = (values: unknown[], value: unknown) => values.some((v) => JSON.stringify(v) === JSON.stringify(value));

/**
 * Holds the keys of a configuration against what its architecture's reader makes of them. What would change the result is a FileError
 * that names it; a key that nobody knows goes to `unknown`.
 */
export function checkKeys(
  values: Iterable<[string, unknown]>,
  table: KeyTable,
  where: string,
  unknown: (key: string, value: unknown) => void,
): void {
  for (const [key, value] of values) {
    const use = Object.hasOwn(table, key) ? table[key] : undefined;
    if (use === undefined) unknown(key, value);
    else if (typeof use === 'object' && !among([...OFF, ...(use.unless ?? [])], value)) {
      if ('refused' in use) throw new FileError(`${where} sets ${key} to ${show(value)}: ${use.refused}.`);
      warnOnce(`${where} sets ${key} to ${show(value)}: ${use.ignored}.`);
    }
  }
}

/** transformers passes keys over that its own configuration class does not have; so do we, and name them. */
export function warnOfUnknown(keys: Iterable<[string, unknown]>, table: KeyTable, where: string): void {
  const names: string[] = [];
  checkKeys(keys, table, where, (key, value) => {
    if (!among(OFF, value)) names.push(`${key} (${show(value)})`);
  });
  if (names.length)
    warnOnce(
      `${where} has keys that its architecture does not know, neither here nor in transformers; they are ignored: ${names.join(', ')}.`,
    );
}
