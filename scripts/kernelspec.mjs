// What Jupyter reads to start the kernel of this clone.
import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { root } from './native.cjs';

/** What launchers show of it; the SVG is the one that is drawn, the others are made of it. */
const LOGOS = ['logo-svg.svg', 'logo-64x64.png', 'logo-32x32.png'];

const quoted = (path) => `'${path.replaceAll("'", "'\\''")}'`;

/**
 * The kernel on the Node at hand. Version managers and upgrades take a Node away, so that the launcher looks for another one then and
 * says so in the server's log.
 */
export function writeKernelspec(folder, node = process.execPath) {
  mkdirSync(folder, { recursive: true });
  const launcher = join(folder, 'launch.sh');
  writeFileSync(
    launcher,
    `node=${quoted(node)}
if [ ! -x "$node" ]; then
  other=$(command -v node) || { echo "tunebook: $node is gone, and there is no other node on the PATH. Install Node and run npm start again." >&2; exit 1; }
  echo "tunebook: $node is gone; the kernel runs on $other. Run npm start to set it up with that one." >&2
  node=$other
fi
exec "$node" -r ${quoted(join(root, 'scripts/node.cjs'))} ${quoted(join(root, 'kernel/lib/main.js'))} "$1"
`,
  );
  const spec = {
    argv: ['/bin/sh', launcher, '{connection_file}'],
    display_name: 'TypeScript (tunebook)',
    language: 'typescript',
    interrupt_mode: 'message',
    metadata: { debugger: false },
  };
  for (const name of LOGOS) copyFileSync(join(root, 'extension/kernelspec', name), join(folder, name));
  writeFileSync(join(folder, 'kernel.json'), `${JSON.stringify(spec, null, 2)}\n`);
}

/**
 * The stock tslab kernel beside ours, in a folder of kernels. Its type checker finds packages in node_modules only, so ours has to
 * stand there.
 */
export function writeTslabKernelspec(kernels) {
  const link = join(root, 'node_modules', 'tunebook');
  if (!existsSync(link)) symlinkSync(root, link, 'dir');
  const folder = join(kernels, 'tslab');
  mkdirSync(folder, { recursive: true });
  const spec = {
    argv: [process.execPath, join(root, 'node_modules/tslab/bin/tslab'), 'kernel', '--config-path', '{connection_file}'],
    display_name: 'TypeScript (tslab)',
    language: 'typescript',
  };
  writeFileSync(join(folder, 'kernel.json'), `${JSON.stringify(spec, null, 2)}\n`);
}
