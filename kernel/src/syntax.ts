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

/** All that could be a name in it. */
export const wordsOf = (code: string): Set<string> => new Set(code.match(/[\p{ID_Start}$_][\p{ID_Continue}$]*/gu) ?? []);

export const nameOf = (name: Node): string => name.name ?? name.value;

export interface Declared {
  name: string;
  /** Later cells may give it a new value. */
  mutable: boolean;
  /** The cell exports it under this name itself. */
  exported: boolean;
}

export const isUsing = ({ type, kind }: Node): boolean => type === 'VariableDeclaration' && /using/.test(kind);

/** The identifiers that a statement, without `export`, declares where it stands. */
export function declaredBy(node: Node): Node[] {
  switch (node.type) {
    case 'VariableDeclaration':
      return node.declarations.flatMap((d: Node) => bound(d.id));
    case 'ImportDeclaration':
      return node.specifiers.map((specifier: Node) => specifier.local);
    case 'TSModuleDeclaration': {
      if (node.kind === 'global') return [];
      let id: Node = node.id;
      while (id.type === 'TSQualifiedName') id = id.left;
      return id.type === 'Identifier' ? [id] : [];
    }
    case 'TSNamespaceExportDeclaration':
      return [];
    default:
      return /Declaration$|^TSDeclareFunction$/.test(node.type) && node.id?.name ? [node.id] : [];
  }
}

export interface Declared {
  name: string;
  /** Later cells may give it a new value. */
  mutable: boolean;
  /** The cell exports it under this name itself. */
  exported: boolean;
}

/** Names that a program declares for the whole of it, types too. */
export function declared(program: Node): Declared[] {
  const found = new Map<string, Declared>();
  const exported = new Set<string>();
  for (const statement of program.body as Node[]) {
    const node: Node = statement.declaration ?? statement;
    const mutable = node.type === 'VariableDeclaration' && /^(let|var)$/.test(node.kind);
    const named = statement.type === 'ExportNamedDeclaration';
    for (const { name } of declaredBy(node)) found.set(name, { name, mutable, exported: named });
    if (named) for (const specifier of statement.specifiers) exported.add(nameOf(specifier.exported));
  }
  // `var` belongs to the whole wherever it stands, but in a function
  walk(program, (node) => {
    if (/^(Function|Arrow|Class|TSModule)/.test(node.type)) return false;
    if (node.type === 'VariableDeclaration' && node.kind === 'var')
      for (const { name } of declaredBy(node)) if (!found.has(name)) found.set(name, { name, mutable: true, exported: false });
    return true;
  });
  return [...found.values()].map((d) => ({ ...d, exported: d.exported || exported.has(d.name) }));
}

/** A cell as TypeScript reads it; of one with errors, what could be read. */
export async function parseCell(code: string): Promise<Node> {
  const { parseSync } = await import('oxc-parser');
  return parseSync('cell.ts', code, { sourceType: 'module' }).program as unknown as Node;
}
