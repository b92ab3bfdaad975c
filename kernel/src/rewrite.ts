/// <reference path="./eslint-scope.d.ts" />
import { analyze, type Reference, type Scope, type Variable } from 'eslint-scope';
import MagicString from 'magic-string';
import { exportOf, importOf, Linking } from './linking';
import { bound, type Node, walk } from './syntax';

/** The name that the last expression is assigned to before it is known what becomes of it. */
export const LAST = '__last';

/** What is special about a cell. */
export interface Cell {
  /** Names that earlier cells declared. */
  known: ReadonlySet<string>;
  /** Names to forget at first. */
  anew: string[];
  /** Names that are the cell's and not esbuild's; by default all. */
  own?: ReadonlySet<string>;
}

/** What stands in place of an identifier. */
type Places = Map<number, string>;

/** The body of an async function for the JavaScript of a cell, or else of a file; `names`: what a cell declares for others. */
export function rewrite(code: string, tree: Node, cell?: Cell): { code: string; names: string[] } {
  const out = new MagicString(code);
  const scopes = analyze(tree, { ecmaVersion: 2022, sourceType: 'module', ignoreEval: true });
  const [top]: Scope[] = scopes.globalScope.childScopes;
  const imported = top.variables.filter(({ defs }) => defs.some(({ type }) => type === 'ImportBinding'));
  const scoped = scopedNames(top.variables, imported, cell);
  const places = placesOf(top.variables, scoped);
  if (cell) addFree(places, scopes.globalScope.through, cell.known);
  const names = cell ? [...scoped.values()] : [];
  const link = new Linking(!cell, scoped);
  const functions = cell ? hoisted(tree, scoped) : [];
  link.needed = needed(tree, imported);

  walk(tree, (node, parent) => {
    switch (node.type) {
      case 'ImportDeclaration':
        importOf(out, node, link);
        return false;
      case 'ExportNamedDeclaration':
      case 'ExportDefaultDeclaration':
      case 'ExportAllDeclaration':
        exportOf(out, node, link);
        return Boolean(node.declaration);
      case 'ClassDeclaration':
        if (cell && node.id && scoped.has(node.id.name) && isTop(tree, node, parent)) {
          open(out, node, `void (__scope.${scoped.get(node.id.name)} = `);
          close(out, node, ');');
        }
        break;
      default:
        useScope(out, node, parent, places);
    }
    return true;
  });
  throughAwait(out, tree);
  returnLast(out, tree);
  const anew = (cell?.anew ?? []).filter((name) => names.includes(name)).map((name) => `__scope.${name} = undefined;`);
  const head = [...anew, ...functions, ...link.head].join(' ');
  // One line with the rest, so that the lines of the map stay true.
  const body = `"use strict"; ${head} ${out.toString()}`;
  // What `eval` is given sees the names too, which are not variables.
  return { code: cell && callsEval(tree) ? `with (__scope) return await (async () => {${body}\n})()` : body, names };
}

// The tree is walked from the outside in: what is opened first at a place stands outside.
const open = (out: MagicString, { start }: Node, text: string) => out.appendRight(start, text);
const close = (out: MagicString, { end }: Node, text: string) => out.prependLeft(end, text);

/** The names that live in `__scope`, with what they are called there: esbuild renames what is called as something that it uses itself. */
function scopedNames(variables: Variable[], imported: Variable[], cell?: Cell): Map<string, string> {
  const own = cell?.own;
  const all = new Set(variables.map(({ name }) => name));
  const scoped = new Map<string, string>();
  for (const variable of cell ? variables : imported) {
    const { name } = variable;
    const before = name.replace(/\d+$/, '');
    if (!own || own.has(name)) scoped.set(name, name);
    else if (own.has(before) && !all.has(before)) scoped.set(name, before);
  }
  return scoped;
}

/** Where those stand. A function's own name is a local one too, and stays. */
function placesOf(variables: Variable[], scoped: ReadonlyMap<string, string>): Places {
  const places: Places = new Map();
  for (const { name, references, defs } of variables) {
    const place = `__scope.${scoped.get(name)}`;
    if (!scoped.has(name)) continue;
    for (const { identifier } of references) places.set(identifier.start, place);
    for (const { type, name: at } of defs) if (type === 'Variable') places.set(at.start, place);
  }
  return places;
}

/** Names that the cell does not declare: those of earlier cells, and those that a later one may yet declare. */
function addFree(places: Places, through: Reference[], known: ReadonlySet<string>): void {
  for (const { identifier } of through) {
    const { name, start } = identifier;
    if (known.has(name)) places.set(start, `__scope.${name}`);
    else if (name !== LAST && !(name in globalThis) && !PROVIDED.test(name)) places.set(start, `__of("${name}").${name}`);
  }
}
const PROVIDED = /^(require|module|exports|__filename|__dirname|__use|__of|arguments)$/;

/** Functions have their values before anything runs. */
function hoisted(tree: Node, scoped: ReadonlyMap<string, string>): string[] {
  return (tree.body as Node[]).flatMap((statement) => {
    const node: Node = statement.declaration ?? statement;
    const name: string | undefined = node.type === 'FunctionDeclaration' ? node.id?.name : undefined;
    return name && scoped.has(name) ? [`__scope.${scoped.get(name)} = ${name};`] : [];
  });
}

/** The imported names that something but an export makes use of: a type's name is not among them. */
function needed(tree: Node, imported: Variable[]): Set<string> {
  const passed = (tree.body as Node[]).filter((node) => node.type === 'ExportNamedDeclaration' && !node.declaration);
  const isPassed = ({ identifier }: Reference) => passed.some(({ start, end }) => start <= identifier.start && identifier.start < end);
  return new Set(imported.filter(({ references }) => !references.every(isPassed)).map(({ name }) => name));
}

const isTop = (tree: Node, node: Node, parent?: Node): boolean =>
  parent === tree || (/^Export/.test(parent?.type ?? '') && parent?.declaration === node);

function useScope(out: MagicString, node: Node, parent: Node | undefined, places: Places): void {
  switch (node.type) {
    case 'Property': {
      // { a } and { a = 1 }: key and value stand at one place
      if (!node.shorthand) return;
      const target = node.value.type === 'AssignmentPattern' ? node.value.left : node.value;
      const place = places.get(target.start);
      if (!place) return;
      out.update(target.start, target.end, `${target.name}: ${place}`);
      if (node.value !== target) keepName(out, place, node.value.right);
      places.delete(target.start);
      return;
    }
    case 'VariableDeclarator':
      if (node.id.type === 'Identifier' && places.has(node.id.start)) keepName(out, places.get(node.id.start), node.init);
      return;
    case 'AssignmentPattern':
    case 'AssignmentExpression':
      if (node.left.type === 'Identifier' && /^(|&&|\|\||\?\?)=$/.test(node.operator ?? '='))
        keepName(out, places.get(node.left.start), node.right);
      return;
    case 'Identifier': {
      const place = places.get(node.start);
      if (!place) return;
      const called =
        (parent?.type === 'CallExpression' && parent.callee === node) ||
        (parent?.type === 'TaggedTemplateExpression' && parent.tag === node);
      const asked = parent?.type === 'UnaryExpression' && parent.operator === 'typeof';
      out.update(node.start, node.end, called ? `(0, ${place})` : asked ? place.replace('").', '", true).') : place);
      return;
    }
    case 'VariableDeclaration':
      if (node.declarations.some((d: Node) => bound(d.id).some((id) => places.has(id.start)))) assign(out, node, parent as Node, places);
      return;
    case 'ImportExpression':
      out.update(node.start, node.start + 'import'.length, '__import');
      return;
    case 'MetaProperty':
      if (node.meta.name === 'import') out.update(node.start, node.end, '__meta');
      return;
    default:
  }
}

/** A function or class without a name takes that of the variable it becomes the value of: a property gives none. */
function keepName(out: MagicString, place: string | undefined, value: Node | null): void {
  let inner = value;
  while (inner?.type === 'ParenthesizedExpression') inner = inner.expression as Node;
  if (!place || !inner || inner.id || !/^(ArrowFunction|Function|Class)Expression$/.test(inner.type)) return;
  const name = place.slice(place.lastIndexOf('.') + 1);
  open(out, value as Node, `{ ["${name}"]: `);
  close(out, value as Node, ` }["${name}"]`);
}

/** `const a = 1, { b } = c;` -> `void (__scope.a = 1, { b: __scope.b } = c);`, and `var i` in the head of a loop -> `__scope.i`. */
function assign(out: MagicString, node: Node, parent: Node, places: Places): void {
  const [first, ...rest] = node.declarations as Node[];
  if (/^For(In|Of)Statement$/.test(parent.type) && parent.left === node) return void out.remove(node.start, first.start);
  out.update(node.start, first.start, 'void (');
  close(out, rest.at(-1) ?? first, ')');
  // `let a;` sets it anew at each run of the cell, `var a;` keeps what is there
  for (const declaration of [first, ...rest])
    if (!declaration.init) close(out, declaration, node.kind === 'var' ? ` = ${places.get(declaration.id.start)}` : ' = undefined');
}

function throughAwait(out: MagicString, tree: Node): void {
  walk(tree, (node) => {
    if (/^(Function|Arrow)/.test(node.type)) return false;
    const waited = node.type === 'AwaitExpression' ? node.argument : node.type === 'ForOfStatement' && node.await ? node.right : undefined;
    if (waited) {
      open(out, waited, waited === node.right ? '__iterate(' : '__await(');
      close(out, waited, ')');
    }
    return true;
  });
}

function returnLast(out: MagicString, tree: Node): void {
  const last = tree.body.findLast((node: Node) => node.type === 'ExpressionStatement' && node.expression.left?.name === LAST);
  if (!last) return;
  out.update(last.expression.start, last.expression.right.start, 'return { value: (');
  out.appendRight(last.expression.end, ') }');
}

function callsEval(tree: Node): boolean {
  let found = false;
  walk(tree, (node) => {
    found ||= node.type === 'CallExpression' && node.callee.name === 'eval';
    return !found;
  });
  return found;
}
