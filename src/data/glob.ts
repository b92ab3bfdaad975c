/** One part of a pattern between slashes, as a regular expression. */
function partPattern(part: string): string {
  return part.replace(/\[!?[^\]]+\]|\{[^{}]*\}|[*?]|[\\^$.|+()[\]{}]/g, (token) => {
    if (token === '*') return '[^/]*';
    if (token === '?') return '[^/]';
    if (token.length > 2 && token[0] === '[') return token.replace('[!', '[^').replaceAll('\\', '\\\\');
    if (token.length > 2 && token[0] === '{') return `(?:${token.slice(1, -1).split(',').map(partPattern).join('|')})`;
    return `\\${token}`;
  });
}

export const isGlob = (path: string): boolean => /[*?[{]/.test(path);

/** What of a folder's files, by their paths in it, a pattern names: * and ? within a name, ** any folders, [a-z], {a,b}. */
export function matchGlob(files: readonly string[], pattern: string): string[] {
  const parts = pattern.replace(/^\.\//, '').split('/');
  const source = parts.map((part, i) =>
    part === '**' ? (i === parts.length - 1 ? '.*' : '(?:[^/]+/)*') : partPattern(part) + (i === parts.length - 1 ? '' : '/'),
  );
  const wanted = new RegExp(`^${source.join('')}$`);
  return files.filter((file) => wanted.test(file)).sort();
}
