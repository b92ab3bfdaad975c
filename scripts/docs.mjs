// npm run docs: docs/api, made of the docstrings that Shift+Tab shows. With --check it only says whether docs/api is what they make.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import process from 'node:process';
import { root } from './setup.mjs';

const home = join(root, 'docs/api');

/** All files below a folder, by their paths in it. */
function filesIn(folder) {
  if (!existsSync(folder)) return new Map();
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => relative(folder, join(parentPath, name)).replaceAll('\\', '/')).sort();
  return new Map(paths.map((path) => [path, readFileSync(join(folder, path), 'utf8')]));
}

/** What the notebooks import from tunebook: names by notebook. */
function importsOfNotebooks() {
  const folder = join(root, 'notebooks');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.ipynb'))
    .sort()
    .map((name) => {
      const { cells } = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      const code = cells
        .filter(({ cell_type }) => cell_type === 'code')
        .map(({ source }) => [source].flat().join(''))
        .join('\n');
      const lists = [...code.matchAll(/import\s+(?:type\s+)?\{([^}]*)\}\s*from\s*['"]tunebook['"]/g)].map(([, list]) => list);
      return { name, names: new Set(lists.flatMap((list) => list.split(',').map((part) => part.trim().split(/\s+as\s+/)[0]))) };
    });
}

/** A page for readers: without what a notebook and Node ask of a value to show it, and its list of names in the order in which one looks for them. */
function readable(path, text) {
  const seen = text.replaceAll(/### \\\[(custom|DISPLAY)\\\]\(\)\n[\s\S]*?(?=\n#{2,3} |$)/g, '').replaceAll(/## Methods\s+(?=## |$)/g, '');
  if (path !== 'README.md') return seen;
  const order = new Intl.Collator('en');
  return seen.replaceAll(/(?:^- .*\n?)+/gm, (list) => `${list.trimEnd().split('\n').sort(order.compare).join('\n')}\n`);
}

/** The pages that the docstrings make, with links to the notebooks that use what a page is about. */
function makePages() {
  const out = mkdtempSync(join(tmpdir(), 'tunebook-docs-'));
  try {
    const typedoc = createRequire(join(root, 'docs/package.json')).resolve('typedoc');
    const command = join(dirname(typedoc), '..', 'bin', 'typedoc');
    const args = [command, '--options', join(root, 'docs/typedoc.json'), '--out', out, '--logLevel', 'Error'];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: join(root, 'docs'), encoding: 'utf8' });
    if (status) throw new Error(`typedoc failed:\n${stdout}${stderr}`);
    const notebooks = importsOfNotebooks();
    return new Map(
      [...filesIn(out)].map(([path, made]) => {
        const text = readable(path, made);
        const users = notebooks.filter(({ names }) => names.has(basename(path, '.md')));
        const up = relative(dirname(join(home, path)), join(root, 'notebooks')).replaceAll('\\', '/');
        const links = users.map(({ name }) => `- [${name}](${up}/${name})\n`);
        return [path, links.length ? `${text.trimEnd()}\n\n## In notebooks\n\n${links.join('')}` : text];
      }),
    );
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const pages = makePages();
const before = filesIn(home);
const stale = [...new Set([...pages.keys(), ...before.keys()])].filter((path) => pages.get(path) !== before.get(path));
if (process.argv.includes('--check')) {
  if (stale.length) console.error(`docs/api is not what the docstrings make: ${stale.slice(0, 10).join(', ')}. Run npm run docs.`);
  process.exit(stale.length ? 1 : 0);
}
for (const path of stale) {
  const file = join(home, path);
  if (!pages.has(path)) rmSync(file);
  else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, pages.get(path));
  }
}
console.log(stale.length ? `docs/api: ${stale.length} of ${pages.size} pages are new.` : 'docs/api is as the docstrings have it.');
