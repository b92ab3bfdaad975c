import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { constants, Script } from 'node:vm';

type Import = (specifier: string, options?: object) => Promise<Record<string, unknown>>;

/** import() as a file in `folder` would mean it. */
export function importFrom(folder: string): Import {
  const loader = (constants as { USE_MAIN_CONTEXT_DEFAULT_LOADER?: unknown } | undefined)?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (!loader) {
    // Node before 20.12: as require finds it
    const { resolve } = createRequire(join(folder, 'cell.js'));
    return (specifier, options) => {
      const found = /^(node:|file:|data:|https?:)/.test(specifier) ? specifier : resolve(specifier);
      return import(found.startsWith('/') ? pathToFileURL(found).href : found, options as never);
    };
  }
  return new Script('(specifier, options) => import(specifier, options)', {
    filename: join(folder, 'cell.js'),
    importModuleDynamically: loader as never,
  }).runInThisContext() as Import;
}

/** A module that names of CommonJS packages can be taken from too, where Node could not see them. */
export function withNames(module: Record<string, unknown>): Record<string, unknown> {
  const inner = module.default as Record<string, unknown> | undefined;
  if (!inner || (typeof inner !== 'object' && typeof inner !== 'function')) return module;
  return new Proxy(module, {
    get: (target, name) => (name in target || typeof name !== 'string' ? Reflect.get(target, name) : inner[name]),
  });
}
