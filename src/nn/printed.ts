import type { Module } from './module';

/** How modules are printed. */
export interface Printing {
  isModule(item: unknown): item is Module;
  /** What is printed in the place of a module, given what it would print: what a PEFT method has put around it. */
  around?(module: Module, text: string): string;
}

const indented = (text: string) => text.replaceAll('\n', '\n  ');

/** As torch prints something with something in it: 'Name(\n  (child): ...\n)'. */
export function bracketed(name: string, lines: readonly string[]): string {
  return lines.length ? `${name}(\n  ${lines.map(indented).join('\n  ')}\n)` : `${name}()`;
}

/** The modules of a list, equal neighbours as one: '(0-29): 30 x LlamaDecoderLayer(...)'. */
function listed(items: Module[], printing: Printing): string {
  const runs: { from: number; to: number; text: string }[] = [];
  for (const [i, item] of items.entries()) {
    const text = printed(item, printing);
    const last = runs.at(-1);
    if (last?.text === text) last.to = i;
    else runs.push({ from: i, to: i, text });
  }
  const lines = runs.map(({ from, to, text }) => (from === to ? `(${from}): ${text}` : `(${from}-${to}): ${to - from + 1} x ${text}`));
  return bracketed('ModuleList', lines);
}

/** A module and all in it, as torch prints them. */
export function printed(module: Module, printing: Printing): string {
  const { isModule, around } = printing;
  const lines = Object.entries(module).flatMap(([name, field]) => {
    if (isModule(field)) return [`(${name}): ${printed(field, printing)}`];
    return Array.isArray(field) && field.length && field.every(isModule) ? [`(${name}): ${listed(field, printing)}`] : [];
  });
  lines.push(...module.printedParts().map(([name, text]) => `(${name}): ${text}`));
  const own = module.printedOptions();
  const { printedName: name } = module;
  const text = lines.length ? bracketed(name, own ? [own, ...lines] : lines) : `${name}(${own})`;
  return around ? around(module, text) : text;
}

/** How much of a model is trained, as PEFT says it. */
export function trainableText(trainable: number, all: number): string {
  const [few, many] = [trainable, all].map((n) => n.toLocaleString('en-US'));
  return `trainable params: ${few} || all params: ${many} || trainable%: ${((100 * trainable) / all).toFixed(4)}`;
}
