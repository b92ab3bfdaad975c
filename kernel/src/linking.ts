import type MagicString from 'magic-string';
import { bound, type Node, nameOf } from './syntax';

/** What a cell or file takes from modules, and what a file gives. */
export class Linking {
  /** Code that goes before all else. */
  private readonly imports: string[] = [];
  private readonly exports: string[] = [];
  /** Imported names that are used as values. */
  needed: ReadonlySet<string> = new Set();

  constructor(
    /** Exports mean nothing in a cell. */
    readonly isFile: boolean,
    /** Names that live in `__scope`, with what they are called there. */
    private readonly scoped: ReadonlyMap<string, string>,
  ) {}

  /** What is exported can be had before anything is imported: files may import each other. */
  get head(): string[] {
    return [...(this.exports.length ? [`__export({ ${this.exports.join(', ')} });`] : []), ...this.imports];
  }

  /** `names`: [local name, imported name or *, whether it is needed] */
  add({ source, attributes }: Node, names: [string, string, boolean?][]): void {
    const options = attributes?.length
      ? `, { with: {${attributes.map((a: Node) => `${a.key.name ?? JSON.stringify(a.key.value)}: ${JSON.stringify(a.value.value)}`).join()}} }`
      : '';
    const here = names.map(([local, ...rest]) => [this.scoped.get(local) ?? local, ...rest]);
    this.imports.push(`await __link(${JSON.stringify(source.value)}, ${JSON.stringify(here)}${options});`);
  }

  give(name: string, local: string): void {
    this.exports.push(`${JSON.stringify(name)}: () => ${this.scoped.has(local) ? `__scope.${this.scoped.get(local)}` : local}`);
  }

  /** Gives what `names` ([exported name, name in the module or *]) are in another module. */
  pass(node: Node, names: [string, string][]): void {
    if (!this.isFile) return void this.add(node, []);
    this.add(
      node,
      names.map(([name, inner]) => [`export ${name}`, inner]),
    );
    for (const [name] of names) this.exports.push(`${JSON.stringify(name)}: () => __scope[${JSON.stringify(`export ${name}`)}]`);
  }

  /** All that another module gives. */
  passAll(node: Node): void {
    if (!this.isFile) return void this.add(node, []);
    this.imports.push(`__export({}, await __import(${JSON.stringify(node.source.value)}));`);
  }
}

/** Leaves nothing of it but its line breaks: errors are told by line. */
function remove(out: MagicString, { start, end }: Node): void {
  const breaks = out.original.slice(start, end).replace(/[^\n]/g, '');
  if (breaks) out.update(start, end, breaks);
  else out.remove(start, end);
}

export function importOf(out: MagicString, node: Node, link: Linking): void {
  const names = (node.specifiers as Node[]).map(({ type, local, imported }): [string, string, boolean] => {
    const name = type === 'ImportNamespaceSpecifier' ? '*' : type === 'ImportDefaultSpecifier' ? 'default' : nameOf(imported);
    return [local.name, name, link.needed.has(local.name)];
  });
  // `import { type A } from 'b'` leaves `import {} from 'b'`, which TypeScript leaves out
  const text = out.original.slice(node.start, node.source.start);
  if (names.length || !text.includes('{')) link.add(node, names);
  remove(out, node);
}

/** Exports mean nothing in a cell but the declarations in them. */
export function exportOf(out: MagicString, node: Node, link: Linking): void {
  const { declaration } = node;
  if (node.type === 'ExportAllDeclaration') {
    if (node.exported) link.pass(node, [[nameOf(node.exported), '*']]);
    else link.passAll(node);
    remove(out, node);
  } else if (node.type === 'ExportDefaultDeclaration') exportDefault(out, node, link);
  else if (declaration) {
    const names = declaration.id ? [declaration.id] : declaration.declarations.flatMap((d: Node) => bound(d.id));
    for (const { name } of names) link.give(name, name);
    out.remove(node.start, declaration.start);
  } else {
    const pairs = (node.specifiers as Node[]).map(({ exported, local }): [string, string] => [nameOf(exported), nameOf(local)]);
    if (node.source) link.pass(node, pairs);
    else for (const [name, local] of pairs) link.give(name, local);
    remove(out, node);
  }
}

function exportDefault(out: MagicString, node: Node, link: Linking): void {
  const { declaration } = node;
  link.give('default', declaration.id?.name ?? DEFAULT);
  if (declaration.id && /Declaration$/.test(declaration.type)) return void out.remove(node.start, declaration.start);
  if (declaration.type === 'FunctionDeclaration') {
    // It has its value before anything runs.
    out.remove(node.start, declaration.start);
    const at = declaration.start + out.original.slice(declaration.start).indexOf('(');
    out.appendLeft(at, ` ${DEFAULT}`);
    return;
  }
  out.update(node.start, declaration.start, link.isFile ? `const ${DEFAULT} = (` : 'void (');
  if (out.original[node.end - 1] === ';') out.prependLeft(node.end - 1, ')');
  else out.prependLeft(node.end, ');');
}
const DEFAULT = '__default';
