/// <reference path="./eslint-scope.d.ts" />
import { transform } from 'esbuild';
import { analyze, type Reference, type Scope, type Variable } from 'eslint-scope';
import MagicString from 'magic-string';
import { bound, type Node, nameOf, walk } from './syntax';

export interface Converted {
  /** The body of an async function of (__scope, __import, __meta, __await, __iterate, require, module, exports, __filename, __dirname). */
  code: string;
  /** What it declares for later cells. */
  names: string[];
  /** Of the lines of `code` in the source, as JSON; absent where they are the same. */
  map?: string;
  /** What it exports, as [exported name, name in its scope]; for files that cells import. */
  exports: [string, string][];
}

/** A cell that is not TypeScript. `incomplete`: more lines could mend it. */
export class CellSyntaxError extends Error {
  override name = 'SyntaxError';
  constructor(
    message: string,
    readonly line: number,
    readonly column: number,
    public incomplete: boolean,
  ) {
    super(message);
  }
}

const OPTIONS = {
  loader: 'ts',
  format: 'esm',
  target: 'node20',
  sourcemap: 'external',
  sourcesContent: false,
  logLevel: 'silent',
  // A cell may import what only later cells use.
  tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true, target: 'es2022', useDefineForClassFields: true } },
} as const;

/**
 * Makes JavaScript of a cell that runs as the body of an async function: what it declares at its top level lives in the
 * properties of `__scope`, where cells before and after find it and may declare it anew; imports become `await __import(...)`;
 * what it awaits outside of functions goes through `__await` (and `__iterate`), which ends it there once it was interrupted; the
 * last expression's value is returned as { value }. `known` are the names that earlier cells declared.
 */
export async function convert(source: string, file: string, known: ReadonlySet<string>): Promise<Converted> {
  const { parseSync } = await import('oxc-parser');
  const javaScript = (text: string) =>
    parseSync('cell.js', text, { sourceType: 'module', astType: 'js', range: true, showSemanticErrors: true });
  const given = parseSync('cell.ts', source);
  const tree = given.program as unknown as Node;
  const prepared = prepare(source, tree);
  if (!given.errors.length && isPlain(tree)) {
    const { program, errors } = javaScript(prepared);
    if (!errors.length) return rewrite(prepared, program as unknown as Node, known);
  }
  const { code, map } = await transform(prepared, { ...OPTIONS, sourcefile: file }).catch(async (error) => {
    const found = syntaxError(error);
    // A template and a string in quotes are called the same when they are open; only a template may go on in the next line.
    if (found instanceof CellSyntaxError && found.message === OPEN_STRING && !found.incomplete)
      found.incomplete = await transform(`${source}\``, OPTIONS).then(
        () => true,
        (other) => other.errors?.[0]?.text !== OPEN_STRING,
      );
    throw found;
  });
  const { program, errors } = javaScript(code);
  if (errors.length) throw new CellSyntaxError(errors[0].message, 1, 0, false);
  return { ...rewrite(code, program as unknown as Node, known), map };
}

/** Whether nothing in it has to be made JavaScript, with what Node.js 20 knows of it. Modifiers like `declare` are left to the parser. */
function isPlain(tree: Node): boolean {
  let plain = true;
  walk(tree, ({ type, kind }) => {
    plain &&= !/^(TS|Decorator$|AccessorProperty$)/.test(type) && !(type === 'VariableDeclaration' && /using/.test(kind));
    return plain;
  });
  return plain;
}

const ENDED = /^((Expression|Return|Throw|Break|Continue|Debugger)Statement|(Variable|Import|ExportAll|ExportNamed)Declaration)$/;

/**
 * The source with a semicolon behind each statement that was written without one, since what comes in place of the next one may
 * begin with a parenthesis; and the last expression assigned to a name, so that it is neither taken for a directive nor left out
 * as useless.
 */
function prepare(source: string, tree: Node): string {
  const out = new MagicString(source);
  const last: Node | undefined = tree.body.at(-1);
  if (last?.type === 'ExpressionStatement') {
    out.appendRight(last.expression.start, `${LAST} = (`);
    out.appendLeft(last.expression.end, ')');
  }
  walk(tree, (node, parent) => {
    const inHead = /^For/.test(parent?.type ?? '') && parent?.body !== node;
    if (ENDED.test(node.type) && !node.declaration && !inHead && source[node.end - 1] !== ';') out.appendLeft(node.end, ';');
  });
  return out.toString();
}
const LAST = '__last';

const OPEN_STRING = 'Unterminated string literal';

function syntaxError(error: { errors?: { text: string; location: { line: number; column: number } | null }[] }): Error {
  const first = error.errors?.[0];
  if (!first) return error as Error;
  const { line, column } = first.location ?? { line: 1, column: 0 };
  return new CellSyntaxError(first.text, line, column, /end of file|to terminate multi-line comment/.test(first.text));
}

function rewrite(code: string, tree: Node, known: ReadonlySet<string>): Omit<Converted, 'map'> {
  const out = new MagicString(code);
  const scopes = analyze(tree, { ecmaVersion: 2022, sourceType: 'module' });
  const [top]: Scope[] = scopes.globalScope.childScopes;
  const names = top.variables.map((variable) => variable.name);
  const places = identifiers(
    top.variables,
    scopes.globalScope.through.filter((ref) => known.has(ref.identifier.name)),
  );
  const head: string[] = [];
  const exported: [string, string][] = [];
  const isTop = new Set<Node>(tree.body);
  const ours = new Set(places.keys());
  const inTop = (declaration: Node) => declaration.declarations.some((d: Node) => bound(d.id).some((id) => ours.has(id.start)));

  walk(tree, (node, parent) => {
    switch (node.type) {
      case 'Property':
        // { a } and { a = 1 }: key and value stand at one place
        if (node.shorthand) {
          const target = node.value.type === 'AssignmentPattern' ? node.value.left : node.value;
          if (places.delete(target.start)) out.update(target.start, target.end, `${target.name}: __scope.${target.name}`);
        }
        break;
      case 'Identifier':
        if (places.delete(node.start)) useScope(out, node, parent);
        break;
      case 'VariableDeclaration':
        if (inTop(node)) assign(out, node, parent as Node);
        break;
      case 'ImportExpression':
        out.update(node.start, node.start + 'import'.length, '__import');
        break;
      case 'MetaProperty':
        if (node.meta.name === 'import') out.update(node.start, node.end, '__meta');
        break;
      case 'ImportDeclaration':
        head.push(importOf(node, head.length));
        remove(out, node);
        break;
      case 'FunctionDeclaration':
        if (node.id && (isTop.has(node) || isTop.has(parent as Node))) head.push(`__scope.${node.id.name} = ${node.id.name};`);
        break;
      case 'ClassDeclaration':
        if (node.id && (isTop.has(node) || (isTop.has(parent as Node) && parent?.type !== 'ExportDefaultDeclaration'))) {
          out.appendRight(node.start, `void (__scope.${node.id.name} = `);
          out.appendLeft(node.end, ');');
        }
        break;
      case 'ExportNamedDeclaration':
      case 'ExportDefaultDeclaration':
      case 'ExportAllDeclaration':
        exportOf(out, node, head, exported);
        if (!node.declaration) for (const start of places.keys()) if (start >= node.start && start < node.end) places.delete(start);
        break;
      default:
    }
  });

  walk(tree, (node) => {
    if (/^(Function|Arrow)/.test(node.type)) return false;
    const waited = node.type === 'AwaitExpression' ? node.argument : node.type === 'ForOfStatement' && node.await ? node.right : undefined;
    if (waited) {
      out.appendRight(waited.start, waited === node.right ? '__iterate(' : '__await(');
      out.appendLeft(waited.end, ')');
    }
    return true;
  });

  const last: Node | undefined = tree.body.findLast(
    (node: Node) => node.type === 'ExpressionStatement' && node.expression.left?.name === LAST,
  );
  if (last) {
    out.update(last.expression.start, last.expression.right.start, 'return { value: (');
    out.appendRight(last.expression.end, ') }');
  }
  // One line with the rest, so that the lines of the map stay true.
  return { code: `"use strict"; ${head.join(' ')} ${out.toString()}`, names, exports: exported };
}

/** Where the given variables and references stand: start -> name. A function's own name is a local one too, and stays. */
function identifiers(variables: Variable[], through: Reference[]): Map<number, string> {
  const places = new Map<number, string>();
  const add = ({ start, name }: Reference['identifier']) => places.set(start, name);
  for (const variable of variables) {
    for (const reference of variable.references) add(reference.identifier);
    for (const { type, name } of variable.defs) if (type === 'Variable') add(name);
  }
  for (const reference of through) add(reference.identifier);
  return places;
}

/** Leaves nothing of it but its line breaks: errors are told by line. */
function remove(out: MagicString, { start, end }: Node): void {
  const breaks = out.original.slice(start, end).replace(/[^\n]/g, '');
  if (breaks) out.update(start, end, breaks);
  else out.remove(start, end);
}

function useScope(out: MagicString, node: Node, parent: Node | undefined): void {
  const called =
    (parent?.type === 'CallExpression' && parent.callee === node) || (parent?.type === 'TaggedTemplateExpression' && parent.tag === node);
  out.update(node.start, node.end, called ? `(0, __scope.${node.name})` : `__scope.${node.name}`);
}

/** `const a = 1, { b } = c;` -> `void (__scope.a = 1, { b: __scope.b } = c);`, and `var i` in the head of a loop -> `__scope.i`. */
function assign(out: MagicString, node: Node, parent: Node): void {
  const [first, ...rest] = node.declarations as Node[];
  if (/^For(In|Of)Statement$/.test(parent.type) && parent.left === node) return void out.remove(node.start, first.start);
  out.update(node.start, first.start, 'void (');
  // `let a;` sets it anew at each run of the cell, `var a;` keeps what is there
  for (const declaration of [first, ...rest])
    if (!declaration.init) out.appendLeft(declaration.end, node.kind === 'var' ? ` = __scope.${declaration.id.name}` : ' = undefined');
  out.appendLeft((rest.at(-1) ?? first).end, ')');
}

function importOf({ source, specifiers, attributes }: Node, number: number): string {
  const options = attributes?.length
    ? `, { with: {${attributes.map((a: Node) => `${a.key.name ?? JSON.stringify(a.key.value)}: ${JSON.stringify(a.value.value)}`).join()}} }`
    : '';
  const module = `__module${number}`;
  const taken = specifiers.map(({ type, local, imported }: Node) => {
    if (type === 'ImportNamespaceSpecifier') return `__scope.${local.name} = ${module};`;
    const name = type === 'ImportDefaultSpecifier' ? 'default' : nameOf(imported);
    return `__scope.${local.name} = ${module}[${JSON.stringify(name)}];`;
  });
  return `const ${module} = await __import(${JSON.stringify(source.value)}${options}); ${taken.join(' ')}`;
}

/** Exports mean nothing in a cell, and are noted for files that cells import. */
function exportOf(out: MagicString, node: Node, head: string[], exported: [string, string][]): void {
  if (node.type === 'ExportAllDeclaration') {
    const name = node.exported ? nameOf(node.exported) : '*';
    head.push(`__scope[${JSON.stringify(`export ${name} ${head.length}`)}] = await __import(${JSON.stringify(node.source.value)});`);
    exported.push([name, `export ${name} ${head.length - 1}`]);
    remove(out, node);
  } else if (node.type === 'ExportDefaultDeclaration') {
    const { declaration } = node;
    const name = declaration.id?.name ?? 'default';
    exported.push(['default', name]);
    if (declaration.type === 'FunctionDeclaration' && declaration.id) return void out.remove(node.start, declaration.start);
    out.update(node.start, declaration.start, `void (__scope.${name} = `);
    if (out.original[node.end - 1] === ';') out.appendLeft(node.end - 1, ')');
    else out.appendRight(node.end, ');');
  } else if (node.declaration) {
    const { declaration } = node;
    const names = declaration.id ? [declaration.id] : declaration.declarations.flatMap((d: Node) => bound(d.id));
    for (const { name } of names) exported.push([name, name]);
    out.remove(node.start, declaration.start);
  } else {
    const module = `__module${head.length}`;
    if (node.source) head.push(`const ${module} = await __import(${JSON.stringify(node.source.value)});`);
    for (const specifier of node.specifiers as Node[]) {
      const name = nameOf(specifier.exported);
      if (node.source) {
        const at = `export ${name}`;
        head.push(`__scope[${JSON.stringify(at)}] = ${module}[${JSON.stringify(nameOf(specifier.local))}];`);
        exported.push([name, at]);
      } else exported.push([name, nameOf(specifier.local)]);
    }
    remove(out, node);
  }
}
