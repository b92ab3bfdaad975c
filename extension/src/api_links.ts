/** Where a link on a page leads to, from the folder of all pages; undefined where it leaves them and the notebooks. */
export function target(page: string, href: string): { page: string } | { notebook: string } | undefined {
  if (/^([a-z][a-z\d+.-]*:|#|\/)/i.test(href)) return undefined;
  // Three folders deep, as docs/api is in the repository.
  const { pathname } = new URL(href, `http://pages/docs/api/${page}`);
  const path = decodeURIComponent(pathname).slice(1);
  if (path.startsWith('docs/api/') && path.endsWith('.md')) return { page: path.slice('docs/api/'.length) };
  return path.endsWith('.ipynb') ? { notebook: path } : undefined;
}
