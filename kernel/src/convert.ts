import { type Loader, type TransformOptions, transform } from 'esbuild';
import MagicString from 'magic-string';
import { LAST, rewrite } from './rewrite';
import { declared, isUsing, type Node, walk, wordsOf } from './syntax';

export interface Converted {
  /** The body of an async function of what worker/evaluate.ts provides. */
  code: string;
  /** What it declares for later cells. */
  names: string[];
  /** Of the lines of `code` in the source, as JSON; absent where they are the same. */
  map?: string;
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

const compilerOptions = { target: 'es2022', useDefineForClassFields: true } as const;
const OPTIONS = {
  format: 'esm',
  target: 'node20',
  supported: { 'import-attributes': true },
  sourcemap: 'external',
  sourcesContent: false,
  logLevel: 'silent',
} as const;
const FILE = { ...OPTIONS, tsconfigRaw: { compilerOptions } } as const;
// A cell may import what only later cells use.
const CELL = { ...OPTIONS, loader: 'ts', tsconfigRaw: { compilerOptions: { ...compilerOptions, verbatimModuleSyntax: true } } } as const;

const parser = import('oxc-parser');
async function parseJavaScript(text: string) {
  const { program, errors } = (await parser).parseSync('cell.js', text, {
    sourceType: 'module',
    astType: 'js',
    range: true,
    showSemanticErrors: true,
  });
  return { tree: program as unknown as Node, errors };
}

/** What esbuild makes of it, parsed. It is told that it is a module: a function in a block is that block's. */
async function javaScriptOf(source: string, options: TransformOptions) {
  const module = `${source}\nexport {};`;
  const made = await transform(module, options).catch(() => transform(source, options)); // whose error knows where the text ends
  const parsed = await parseJavaScript(made.code);
  if (!isRenamed(source, parsed.tree)) return { ...made, ...parsed };
  const named = await transform(module, { ...options, keepNames: true });
  return { ...named, ...(await parseJavaScript(named.code)) };
}

/** Whether a function or class is called otherwise than in the source, as esbuild does to tell it from another in a block around it. */
function isRenamed(source: string, tree: Node): boolean {
  const words = wordsOf(source);
  let renamed = false;
  walk(tree, ({ type, id, init }) => {
    const names = /^(Function|Class)/.test(type) || (type === 'VariableDeclarator' && /(Function|Class)/.test(init?.type ?? ''));
    renamed ||= names && id?.type === 'Identifier' && !id.name.startsWith('__') && !words.has(id.name);
    return !renamed;
  });
  return renamed;
}

/**
 * Makes JavaScript of a cell that runs as the body of an async function: what it declares at its top level lives in the
 * properties of `__scope`, where cells before and after find it and may declare it anew; imports become `await __link(...)`;
 * what it awaits outside of functions goes through `__await` (and `__iterate`), which ends it there once it was interrupted; the
 * last expression's value is returned as { value }. `known` are the names that earlier cells declared.
 */
export async function convert(source: string, file: string, known: ReadonlySet<string>): Promise<Converted> {
  const given = (await parser).parseSync('cell.ts', source);
  const program = given.program as unknown as Node;
  const prepared = prepare(source, program);
  const cell = { known, anew: program.body.flatMap(anew) };
  if (!given.errors.length && isPlain(program)) {
    const { tree, errors } = await parseJavaScript(prepared);
    if (!errors.length) return rewrite(prepared, tree, cell);
  }
  const { code, map, tree, errors } = await javaScriptOf(prepared, { ...CELL, sourcefile: file }).catch(async (error) => {
    const found = syntaxError(error);
    // A template and a string in quotes are called the same when they are open; only a template may go on in the next line.
    if (found instanceof CellSyntaxError && found.message === OPEN_STRING && !found.incomplete)
      found.incomplete = await transform(`${source}\``, CELL).then(
        () => true,
        (other) => other.errors?.[0]?.text !== OPEN_STRING,
      );
    throw found;
  });
  if (errors.length) throw new CellSyntaxError(errors[0].message, 1, 0, false);
  // What esbuild adds for its own use stays with the cell.
  const own = given.errors.length ? undefined : new Set(declared(program).map(({ name }) => name));
  return { ...rewrite(code, tree, { ...cell, own }), map };
}

/** Makes the same of a file that cells import: its names are its own, what it imports is in `__scope`, and it tells what it exports by `__export`. */
export async function convertFile(source: string, file: string, loader: Loader): Promise<string> {
  const { code, tree, errors } = await javaScriptOf(source, { ...FILE, loader, sourcefile: file }).catch((error) => {
    const [first] = error.errors ?? [];
    throw first ? new SyntaxError(`${first.location ? `${file}:${first.location.line}: ` : `${file}: `}${first.text}`) : error;
  });
  if (errors.length) throw new SyntaxError(`${file}: ${errors[0].message}`);
  return rewrite(code, tree).code;
}

/** Whether nothing in it has to be made JavaScript, with what Node.js 20 knows of it. Modifiers like `declare` are left to the parser. */
function isPlain(program: Node): boolean {
  let plain = true;
  walk(program, (node, parent) => {
    plain &&= !/^(TS|Decorator$|AccessorProperty$)/.test(node.type) && !(isUsing(node) && parent !== program);
    return plain;
  });
  return plain;
}

/** Names that it declares as what TypeScript adds to where that is there already: an earlier cell's is another. */
function anew(statement: Node): string[] {
  const node: Node = statement.declaration ?? statement;
  return /^TS(Enum|Module)Declaration$/.test(node.type) && !node.declare ? declared({ ...node, body: [node] }).map((d) => d.name) : [];
}

const ENDED = /^((Expression|Return|Throw|Break|Continue|Debugger)Statement|(Variable|Import|ExportAll|ExportNamed)Declaration)$/;

/**
 * The source with a semicolon behind each statement that was written without one, since what comes in place of the next one may
 * begin with a parenthesis; the last expression assigned to a name, so that it is neither taken for a directive nor left out
 * as useless; names of names as constants; and what the cell holds by `using` given to `__use`, which lets go of it at the cell's end.
 */
function prepare(source: string, program: Node): string {
  const out = new MagicString(source);
  const last: Node | undefined = program.body.at(-1);
  if (last?.type === 'ExpressionStatement') {
    out.appendRight(last.expression.start, `${LAST} = (`);
    out.appendLeft(last.expression.end, ')');
  }
  for (const statement of program.body as Node[]) {
    const alias: Node = statement.declaration ?? statement;
    const isAlias = alias.type === 'TSImportEqualsDeclaration' && alias.importKind !== 'type';
    if (isAlias && alias.moduleReference.type !== 'TSExternalModuleReference') out.update(alias.start, alias.end, aliasOf(alias));
    if (statement.type === 'TSExportAssignment') out.update(statement.start, statement.expression.start, 'export default ');
    if (!isUsing(statement)) continue;
    out.update(statement.start, statement.declarations[0].start, 'const ');
    for (const { init } of statement.declarations as Node[]) {
      if (!init) continue;
      out.appendRight(init.start, '__use(');
      out.appendLeft(init.end, statement.kind === 'using' ? ')' : ', true)');
    }
  }
  walk(program, (node, parent) => {
    const inHead = /^For/.test(parent?.type ?? '') && parent?.body !== node;
    if (ENDED.test(node.type) && !node.declaration && !inHead && source[node.end - 1] !== ';') out.appendLeft(node.end, ';');
  });
  return out.toString();
}

/** `import a = b.c`, which esbuild would leave out where the cell itself does not use it, and which may name a type alone. */
function aliasOf({ id, moduleReference }: Node): string {
  const path = (name: Node): string[] => (name.type === 'TSQualifiedName' ? [...path(name.left), name.right.name] : [name.name]);
  const [first, ...rest] = path(moduleReference);
  return `const ${id.name} = __of("${first}", true).${[first, ...rest].join('?.')};`;
}

const OPEN_STRING = 'Unterminated string literal';

function syntaxError(error: { errors?: { text: string; location: { line: number; column: number } | null }[] }): Error {
  const first = error.errors?.[0];
  if (!first) return error as Error;
  const { line, column } = first.location ?? { line: 1, column: 0 };
  return new CellSyntaxError(first.text, line, column, /end of file|to terminate multi-line comment/.test(first.text));
}

/** Expressions as code that gives their values; of one that is none, code that says so. */
export async function convertExpressions(expressions: Record<string, string>, known: ReadonlySet<string>): Promise<Record<string, string>> {
  const converted: Record<string, string> = {};
  for (const [name, expression] of Object.entries(expressions))
    converted[name] = await convert(`(${expression})`, 'expression', known).then(
      ({ code }) => code,
      (error) => `throw new SyntaxError(${JSON.stringify(String(error.message))})`,
    );
  return converted;
}
