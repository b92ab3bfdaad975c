import type { Module } from './module';

const indented = (text: string) => text.replaceAll('\n', '\n  ');

/** The modules of a list, equal neighbours as one: '(0-29): 30 x LlamaDecoderLayer(...)'. */
function listed(items: Module[], isModule: (item: unknown) => item is Module): string {
  const runs: { from: number; to: number; text: string }[] = [];
  for (const [i, item] of items.entries()) {
    const text = printed(item, isModule);
    const last = runs.at(-1);
    if (last?.text === text) last.to = i;
    else runs.push({ from: i, to: i, text });
  }
  const lines = runs.map(({ from, to, text }) => (from === to ? `(${from}): ${text}` : `(${from}-${to}): ${to - from + 1} x ${text}`));
  return `ModuleList(\n  ${lines.map(indented).join('\n  ')}\n)`;
}

/** A module and all in it, as torch prints them. */
export function printed(module: Module, isModule: (item: unknown) => item is Module): string {
  const lines = Object.entries(module).flatMap(([name, field]) => {
    if (isModule(field)) return [`(${name}): ${printed(field, isModule)}`];
    return Array.isArray(field) && field.length && field.every(isModule) ? [`(${name}): ${listed(field, isModule)}`] : [];
  });
  const own = module.printedOptions();
  if (!lines.length) return `${module.printedName}(${own})`;
  return `${module.printedName}(\n  ${[...(own ? [own] : []), ...lines].map(indented).join('\n  ')}\n)`;
}
