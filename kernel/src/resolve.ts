import { existsSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';

/** The package that notebooks import from any folder, unless the folder has its own. */
const NAME = 'tunebook';

/**
 * Lets cells `import ... from 'tunebook'` wherever the notebook is: at run time by a fallback of Node's resolution, and for
 * the type checker by showing the package (and Node's types) under the notebook's node_modules.
 */
export function provideTunebook(root: string): void {
  const resolver = Module as unknown as { _resolveFilename(request: string, ...rest: unknown[]): string };
  const original = resolver._resolveFilename;
  const inside = createRequire(join(root, 'package.json'));
  resolver._resolveFilename = function (request, ...rest) {
    try {
      return original.call(this, request, ...rest);
    } catch (error) {
      if (request === NAME) return inside.resolve(root);
      throw error;
    }
  };

  // tslab's converter sees files through this object, and through nothing else.
  const ts = require('@tslab/typescript-for-tslab') as { sys: Record<string, unknown> };
  const types = dirname(dirname(inside.resolve('@types/node/package.json')));
  const shown: [string, string][] = [
    [`${sep}node_modules${sep}${NAME}`, root],
    [`${sep}node_modules${sep}@types${sep}node`, join(types, 'node')],
  ];
  const real = (path: string): string => {
    if (existsSync(path)) return path;
    for (const [suffix, target] of shown) {
      const at = path.lastIndexOf(suffix);
      const rest = at < 0 ? undefined : path.slice(at + suffix.length);
      if (rest !== undefined && (rest === '' || rest.startsWith(sep))) return target + rest;
    }
    return path;
  };
  for (const name of [
    'readFile',
    'fileExists',
    'directoryExists',
    'readDirectory',
    'getDirectories',
    'realpath',
    'watchFile',
    'watchDirectory',
    'getModifiedTime',
  ]) {
    const method = ts.sys[name];
    if (typeof method === 'function') ts.sys[name] = (path: string, ...rest: unknown[]) => method.call(ts.sys, real(path), ...rest);
  }
}
