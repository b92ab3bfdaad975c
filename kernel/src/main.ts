import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Kernel } from './kernel';
import type { Connection } from './protocol';

// Messages die young: V8 would answer their number with 30 MiB more for new objects, and be no quicker.
setFlagsFromString('--semi-space-growth-factor=1');

/** Started by Jupyter as `node kernel/lib/main.js <connection file>`, in the notebook's folder. */
const [file] = process.argv.slice(2);
if (!file) {
  console.error('This is a Jupyter kernel; Jupyter starts it with a connection file. To work with it, run `npm start`.');
  process.exit(2);
}
const connection = JSON.parse(readFileSync(file, 'utf8')) as Connection;

/** The library that cells import as 'tunebook': the repository that this kernel lies in, or the package beside it or the notebook. */
function library(): string {
  const repository = resolve(__dirname, '..', '..');
  if (existsSync(join(repository, 'kernel', 'package.json'))) return repository;
  for (const from of [join(process.cwd(), 'cell.js'), __filename])
    try {
      return dirname(createRequire(from).resolve('tunebook/package.json'));
    } catch {
      // looked for in the next place
    }
  return repository;
}

const kernel = new Kernel(connection, process.cwd(), process.env.TUNEBOOK_ROOT ?? library());
void kernel.start();

// jupyter_client sets this for kernels that are to end with whoever started them, which may die without a word.
const { ppid } = process;
if (process.env.JPY_PARENT_PID) setInterval(() => process.ppid !== ppid && void kernel.quit(), 1000).unref();
