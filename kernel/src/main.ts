import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Kernel } from './kernel';
import type { Connection } from './protocol';

/** Started by Jupyter as `node kernel/lib/main.js <connection file>`, in the notebook's folder. */
const [file] = process.argv.slice(2);
if (!file) {
  console.error('This is a Jupyter kernel; Jupyter starts it with a connection file. To work with it, run `npm start`.');
  process.exit(2);
}
const connection = JSON.parse(readFileSync(file, 'utf8')) as Connection;
void new Kernel(connection, process.cwd(), process.env.TUNEBOOK_ROOT ?? resolve(dirname(__dirname), '..')).start();
