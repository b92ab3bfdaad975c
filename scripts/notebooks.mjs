// npm run notebooks [-- 03-lora-from-scratch ...]: executes notebooks from top to bottom and keeps their outputs in them, so that they read
// well where nobody runs them.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { main, root, SetupError, setUp } from './setup.mjs';

/** Those that are kept as their readers first meet them: without outputs. */
const BARE = ['01-first-fine-tune'];

await main(async () => {
  await setUp(['dependencies', 'native', 'build', 'jupyter', 'model']);
  const bin = join(root, '.venv', 'bin');
  const all = readdirSync(join(root, 'notebooks'))
    .filter((file) => file.endsWith('.ipynb'))
    .map((file) => file.slice(0, -'.ipynb'.length));
  const asked = process.argv.length > 2 ? process.argv.slice(2) : all.filter((name) => !BARE.includes(name));
  mkdirSync(join(root, 'notebooks', 'out'), { recursive: true });
  for (const name of asked) {
    if (!all.includes(name)) throw new SetupError(`There is no notebook ${name}; there are ${all.join(', ')}.`);
    const [file, made] = [join(root, 'notebooks', `${name}.ipynb`), join(root, 'notebooks', 'out', `${name}.executed.ipynb`)];
    console.log(`\n${name}`);
    const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
    const args = [join(root, 'scripts/execute.py'), file, made, 'tunebook'];
    if (spawnSync(join(bin, 'python'), args, { stdio: 'inherit', env }).status !== 0)
      throw new SetupError(`${name} failed; ${made} has how far it came.`);
    const notebook = JSON.parse(readFileSync(made, 'utf8'));
    for (const cell of notebook.cells) delete cell.metadata.execution; // the clock of this run
    const text = `${JSON.stringify(notebook, null, 1)}\n`;
    for (const place of [root, homedir(), tmpdir()])
      if (text.includes(`${place}/`))
        throw new SetupError(`${name} shows a path of this machine (${place}). Let its cells name files from the notebook's folder.`);
    writeFileSync(file, text);
  }
  return 0;
});
