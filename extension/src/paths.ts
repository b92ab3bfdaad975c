/** Where a folder lies under what the server shows; undefined: outside. */
export function serverPath(folder: string, from: string | undefined, serverRoot: string): string | undefined {
  const root = serverRoot.replace(/\/+$/, '');
  if (folder.startsWith('/')) return root && folder.startsWith(`${root}/`) ? folder.slice(root.length + 1) : undefined;
  if (from === undefined) return undefined;
  const parts = from.split('/').slice(0, -1);
  for (const part of folder.split('/'))
    if (part === '..') {
      if (!parts.length) return undefined;
      parts.pop();
    } else if (part && part !== '.') parts.push(part);
  return parts.join('/');
}
