/** What the checker and the parser do not say: that a notebook's cells run in any order, and that many come from Python. */

/** Names of Python, and what stands for them. */
const PYTHON: Record<string, string> = {
  print: 'console.log(...)',
  len: 'list.length',
  range: 'Array.from({ length: n }, (_, i) => i)',
  str: 'String(...)',
  int: 'Number(...)',
  None: 'null',
  True: 'true',
  False: 'false',
  self: 'this',
};

/** How many letters have to be added, taken away or changed (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}

function nearest(name: string, names: Iterable<string>): string | undefined {
  const near = [...names]
    .map((other) => ({ other, far: distance(name.toLowerCase(), other.toLowerCase()) }))
    .filter(({ far }) => far <= Math.max(1, name.length / 3))
    .sort((a, b) => a.far - b.far);
  return near[0]?.other;
}

/** What is to be known of a name whose cell failed. */
const failedText = (name: string, cell: number) => `cell [${cell}], which declares '${name}', failed. Mend and run that one first.`;

/** A sentence to stand behind an error that may come of it that the cells that declare some of its names failed; `failed`: their numbers. */
export function absenceAdvice(code: string, failed: ReadonlyMap<string, number>): string {
  for (const [name, cell] of failed)
    if (new RegExp(`(?<![\\p{ID_Continue}$.])${name.replaceAll('$', '\\$')}(?![\\p{ID_Continue}$])`, 'u').test(code))
      return ` '${name}' may have no value: ${failedText(name, cell)}`;
  return '';
}

/**
 * A sentence to stand behind what the type checker says, or nothing. `names`: those that earlier cells declared; `failed`: those of cells
 * that failed, with their numbers.
 */
export function typeAdvice(text: string, names: Iterable<string>, failed: ReadonlyMap<string, number> = new Map()): string {
  const missing = text.match(/^Cannot find name '([^']+)'\.$/)?.[1];
  if (missing !== undefined) {
    const cell = failed.get(missing);
    if (cell !== undefined) return ` It has no value, since ${failedText(missing, cell)}`;
    if (Object.hasOwn(PYTHON, missing)) return ` In TypeScript: ${PYTHON[missing]}.`;
    const near = nearest(missing, names);
    return near ? ` Did you mean '${near}'?` : ' If another cell declares it, run that one first.';
  }
  if (/ on type 'Promise</.test(text)) return " The value is still on its way: put 'await' before what makes it.";
  const [, module] = text.match(/^Cannot find module '((?:@[^/']+\/)?[^./'@][^/']*)/) ?? [];
  return module && !module.includes(':') ? ` The line %npm install ${module} in a cell puts it beside the notebook.` : '';
}

const PYTHONIC =
  /^\s*(import\s+[\w.]+(\s+as\s+\w+)?|from\s+[\w.]+\s+import\b.*|(def|class)\s+\w+.*:|(for|if|elif|while|with|try|else|except)\b(?!\s*[({]).*:|print\s+["'].*)\s*(#.*)?$/;

/** The same behind what the parser says of a line. */
export function syntaxAdvice(line: string): string {
  if (/^\s*(\?{1,2}\s*[\w$.]+|[\w$.]+\s*\?{1,2})\s*$/.test(line))
    return '. What a name is, its tooltip says: put the cursor behind it and press Shift+Tab.';
  if (/^\s*%{1,2}[a-z]+\b/i.test(line)) return '. A magic stands before all code of its cell.';
  return PYTHONIC.test(line)
    ? ". This reads like Python; cells are TypeScript: import { name } from 'package'; for (const x of list) { ... }; function f(x: number) { ... }."
    : '';
}
