/** Where a link leads to: a page, from the folder of all pages, and a place on it; or a notebook. */
export type Target = { page: string; anchor?: string } | { notebook: string };

/** Where a link on a page leads to; undefined where it leaves the pages and the notebooks. */
export function target(page: string, href: string): Target | undefined {
  if (/^([a-z][a-z\d+.-]*:|\/)/i.test(href)) return undefined;
  // Three folders deep, as docs/api is in the repository.
  const { pathname, hash } = new URL(href, `http://pages/docs/api/${page}`);
  const path = decodeURIComponent(pathname).slice(1);
  const anchor = hash.length > 1 ? { anchor: slug(decodeURIComponent(hash)) } : {};
  if (path.startsWith('docs/api/') && path.endsWith('.md')) return { page: path.slice('docs/api/'.length), ...anchor };
  return path.endsWith('.ipynb') ? { notebook: path } : undefined;
}

/** A heading, or an option's name, as links to it have it: as GitHub makes it, also of what JupyterLab makes. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-');
