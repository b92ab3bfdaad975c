import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { scratch, tinyLlama, tinyTokenizer } from './tiny';

const root = resolve(__dirname, '..');

function run(command: string, args: string[], cwd: string): string {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  expect(result.status, `${command} ${args.join(' ')}\n${result.stdout.slice(-2000)}${result.stderr.slice(-3000)}`).toBe(0);
  return result.stdout;
}

it('npm pack gives a package that installs into an empty folder and trains there', async () => {
  const [packed, app] = [scratch('packed'), scratch('app')];
  run('npm', ['pack', '--silent', '--pack-destination', packed], root);
  const [file] = readdirSync(packed);
  writeFileSync(join(app, 'package.json'), '{"name": "app", "private": true}');
  run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock', join(packed, file)], app);
  expect(run('npx', ['tunebook', 'setup'], app)).toMatch(/^self-test\nThe native engine is ready \([\w-]+\)\.\n$/m);
  await tinyTokenizer().save_pretrained(join(app, 'tok'));
  writeFileSync(
    join(app, 'train.mjs'),
    `import { AutoModelForCausalLM, AutoTokenizer, backend, Dataset, LoraConfig, SFTConfig, SFTTrainer } from 'tunebook';
const model = await AutoModelForCausalLM.from_pretrained(${JSON.stringify(await tinyLlama(5))});
const processing_class = await AutoTokenizer.from_pretrained('tok');
const train_dataset = Dataset.from_list([{ prompt: 'a', completion: 'b' }, { prompt: 'c', completion: 'd' }]);
const trainer = new SFTTrainer({ model, processing_class, train_dataset, peft_config: new LoraConfig({ r: 2, target_modules: 'all-linear' }), args: new SFTConfig({ output_dir: 'out', max_steps: 3 }) });
const { training_loss } = await trainer.train();
await trainer.save_model();
console.log(JSON.stringify({ native: backend().native, loss: training_loss }));
`,
  );
  const { native, loss } = JSON.parse(run(process.execPath, ['train.mjs'], app).trim().split('\n').at(-1)!);
  expect(native).toBe(true);
  expect(loss).toBeGreaterThan(1);
  expect(readdirSync(join(app, 'out'))).toContain('adapter_model.safetensors');
});
