/** A part of a syntax tree: ESTree, with places in the text. */
export interface Node {
  type: string;
  start: number;
  end: number;
  // biome-ignore lint/suspicious/noExplicitAny: ESTree's kinds of node differ in everything else
  [name: string]: any;
}

const isNode = (value: unknown): value is Node => typeof (value as Node | null)?.type === 'string';

/** Calls `visit` with each node and the one that it is part of; where it returns false, the node's parts are left out. */
export function walk(node: Node, visit: (node: Node, parent?: Node) => unknown, parent?: Node): void {
  if (visit(node, parent) === false) return;
  for (const value of Object.values(node))
    if (Array.isArray(value)) {
      for (const item of value) if (isNode(item)) walk(item, visit, node);
    } else if (isNode(value)) walk(value, visit, node);
}

/** The identifiers that a pattern binds. */
export function bound(pattern: Node | null): Node[] {
  switch (pattern?.type) {
    case 'Identifier':
      return [pattern];
    case 'ObjectPattern':
      return pattern.properties.flatMap((p: Node) => bound(p.type === 'Property' ? p.value : p.argument));
    case 'ArrayPattern':
      return pattern.elements.flatMap(bound);
    case 'AssignmentPattern':
      return bound(pattern.left);
    case 'RestElement':
      return bound(pattern.argument);
    default:
      return [];
  }
}

export const nameOf = (name: Node): string => name.name ?? name.value;

export interface Declared {
  name: string;
  /** Later cells may give it a new value. */
  mutable: boolean;
  /** The cell exports it under this name itself. */
  exported: boolean;
}

/** Names that a cell declares at its top level, types too. Of a cell with errors, what could be read. */
export async function declarations(code: string): Promise<Declared[]> {
  const { parseSync } = await import('oxc-parser');
  const { program } = parseSync('cell.ts', code, { sourceType: 'module' });
  const found = new Map<string, Declared>();
  const exported = new Set<string>();
  for (const statement of (program as unknown as Node).body as Node[]) {
    const node: Node = statement.declaration ?? statement;
    const ids: Node[] =
      node.type === 'VariableDeclaration'
        ? node.declarations.flatMap((d: Node) => bound(d.id))
        : node.type === 'ImportDeclaration'
          ? node.specifiers.map((specifier: Node) => specifier.local)
          : /Declaration$|^TSDeclareFunction$/.test(node.type) && node.id?.name
            ? [node.id]
            : [];
    const mutable = node.type === 'VariableDeclaration' && node.kind !== 'const';
    const named = statement.type === 'ExportNamedDeclaration';
    for (const { name } of ids) found.set(name, { name, mutable, exported: named });
    if (named) for (const specifier of statement.specifiers) exported.add(nameOf(specifier.exported));
  }
  return [...found.values()].map((d) => ({ ...d, exported: d.exported || exported.has(d.name) }));
}
