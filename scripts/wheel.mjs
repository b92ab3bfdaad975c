// npm run wheel [FOLDER]: the Python wheel (labextension and kernelspec), into FOLDER or dist/.
import { join, resolve } from 'node:path';
import process from 'node:process';
import { main, root, run, setUp } from './setup.mjs';

await main(async () => {
  await setUp(['dependencies', 'build', 'jupyter', 'extension']);
  const target = resolve(process.argv[2] ?? join(root, 'dist'));
  const args = ['wheel', '--quiet', '--disable-pip-version-check', '--no-deps', '--wheel-dir', target, join(root, 'extension')];
  await run(join(root, '.venv/bin/pip'), args, { what: 'Building the wheel', remedy: 'This is a fault of tunebook or of a local change.' });
  console.log(`The wheel is in ${target}`);
});
