// Starts the kernel that npm installed: TUNEBOOK_KERNEL (a path), beside the notebook, or globally.
// Which Node this is comes first, in words that an old one reads, too.
const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(
    `tunebook's kernel needs Node 20 or later; this is ${process.versions.node}. Install a current one and restart the kernel.`,
  );
  process.exit(1);
}

const { spawnSync } = require('node:child_process');
const { createRequire } = require('node:module');
const { join } = require('node:path');

const ENTRY = 'tunebook-kernel/lib/main.js';

function find() {
  if (process.env.TUNEBOOK_KERNEL) return process.env.TUNEBOOK_KERNEL;
  const globally = () => (spawnSync('npm', ['root', '-g'], { encoding: 'utf8' }).stdout || '').trim();
  for (const folder of [() => process.cwd(), () => __dirname, globally]) {
    const from = folder();
    if (!from) continue;
    for (const place of [join(from, 'x.js'), join(from, '..', 'x.js')])
      try {
        return createRequire(place).resolve(ENTRY);
      } catch {
        // looked for in the next place
      }
  }
  return undefined;
}

const main = find();
if (!main) {
  console.error(
    "tunebook's kernel is not installed: run `npm install -g tunebook tunebook-kernel` (or without -g beside the notebook) and restart the kernel.",
  );
  process.exit(1);
}
require(main);
