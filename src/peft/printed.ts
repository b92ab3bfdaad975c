import type { Module, Parameter } from '../nn';
import { bracketed } from '../nn/printed';
import { type Adapter, ModuleAdapter, type Term } from './adapter';
import type { PeftConfig } from './method';

/** What torch prints of a dictionary of modules, or of parameters: name and text, or parameter, of each. */
export const moduleDict = (items: readonly (readonly [string, string])[]): string =>
  bracketed(
    'ModuleDict',
    items.map(([name, text]) => `(${name}): ${text}`),
  );

export function parameterDict(items: readonly (readonly [string, Parameter])[]): string {
  const lines = items.map(([name, { shape }]) => `  (${name}): Parameter containing: [torch.FloatTensor of size ${shape.join('x')}]`);
  return `ParameterDict(${lines.join('\n')})`;
}

/** Dropout of this share. */
export const dropoutText = (share: number): string => (share ? `Dropout(p=${share}, inplace=False)` : 'Identity()');

/** A model with its adapters by name, as PEFT prints it. */
export function peftPrinted(base: Module, parts: ReadonlyMap<string, { config: PeftConfig; adapters: readonly Adapter[] }>): string {
  const terms = new Map<Module, [string, Term][]>();
  const beside: [string, string][] = [];
  for (const [name, { adapters }] of parts)
    for (const adapter of adapters) {
      if (adapter.printed) beside.push([name, adapter.printed()]);
      if (adapter instanceof ModuleAdapter)
        for (const { module, term } of adapter.terms.values()) terms.set(module, [...(terms.get(module) ?? []), [name, term]]);
    }
  const text = base.print((module, own) => {
    const here = terms.get(module) ?? [];
    return here[0]?.[1].printed?.(own, here) ?? own;
  });
  const [first] = parts.values();
  const tuner = first?.config.tuner;
  return bracketed(first?.config.printedClass ?? 'PeftModel', [
    `(base_model): ${tuner ? bracketed(tuner, [`(model): ${text}`]) : text}`,
    ...(beside.length ? [`(prompt_encoder): ${moduleDict(beside)}`] : []),
  ]);
}
