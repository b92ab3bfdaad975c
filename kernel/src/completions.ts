export interface Completion {
  /** What is to stand in the code, from `start` (an offset in it) to the cursor; what is shown may differ ('learning_rate?'). */
  text: string;
  start: number;
  /** As Jupyter's front ends name kinds. */
  kind: string;
}

const KINDS: Record<number, string> = {
  2: 'method',
  3: 'function',
  5: 'property',
  6: 'variable',
  7: 'class',
  8: 'interface',
  9: 'module',
  10: 'property',
  13: 'enum',
  14: 'keyword',
  20: 'enum',
  21: 'constant',
};
const FILE = 17;
const CONSTANT = 21;

const WORD = /#?[\p{ID_Continue}$]*$/u;

// biome-ignore lint/suspicious/noExplicitAny: a CompletionItem of the protocol
type Item = any;

/**
 * What a language server's answer offers at `offset`, in its order. All of it begins at one place: what needs another beginning, as
 * '["a-b"]' does that takes the place of a dot, is offered where nothing else fits. `firstLine`: the server's number of the code's
 * first line. `isOwn`: whether a file is none of the reader's.
 */
export function completionsOf(result: Item, code: string, offset: number, firstLine: number, isOwn: (file: string) => boolean) {
  const lines = code.split('\n');
  const word = offset - (WORD.exec(code.slice(0, offset))?.[0].length ?? 0);
  const placeOf = ({ line, character }: { line: number; character: number }) =>
    lines.slice(0, line - firstLine).reduce((n, { length }) => n + length + 1, character);
  const completionOf = ({ label, kind, insertText, filterText, textEdit }: Item): Completion[] => {
    const start = textEdit ? placeOf(textEdit.range.start) : word;
    const typed = code.slice(start, offset).toLowerCase();
    // Where nothing says how it begins, a string may be begun without its quote.
    const fits = [filterText ?? label, label, label.replace(/^"/, '')].some((name) => name.toLowerCase().startsWith(typed));
    return fits ? [{ text: textEdit?.newText ?? insertText ?? label, start, kind: KINDS[kind] ?? 'value' }] : [];
  };
  // A value that is wanted there stands before the names that might hold one.
  const order = ({ sortText, label, kind }: Item): string => `${sortText ?? label}${kind === CONSTANT ? 0 : 1}`;
  const found = (result?.items ?? result ?? [])
    // One that would add an import cannot do so from here.
    .filter((item: Item) => !item.data?.autoImport && !(item.kind === FILE && isOwn(item.detail)))
    .sort((a: Item, b: Item) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0))
    .flatMap(completionOf) as Completion[];
  const start = Math.max(...found.map((one) => one.start));
  const once = new Map(found.filter((one) => one.start === start).map((one) => [one.text, one]));
  return [...once.values()];
}
