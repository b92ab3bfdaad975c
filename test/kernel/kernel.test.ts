import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const root = resolve(__dirname, '../..');
interface Reply {
  status: string;
  messages: any[];
  [name: string]: any;
}

/** Runs cells in a real kernel, in a folder that knows nothing of tunebook. */
function inKernel(steps: object[], folder = scratch('notebook')): Reply[] {
  const result = spawnSync(join(root, '.venv/bin/python'), [join(__dirname, 'client.py'), folder], {
    input: JSON.stringify(steps),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, JUPYTER_PREFER_ENV_PATH: '1', VIRTUAL_ENV: join(root, '.venv') },
  });
  if (result.status !== 0) throw new Error(result.stderr.slice(-3000));
  return JSON.parse(result.stdout.trim().split('\n').at(-1)!).slice(1);
}
const cell = (code: string) => ({ code });
/** Without the colours. */
const plain = (lines: string[]) => stripVTControlCharacters(lines.join('\n'));
const text = (reply: Reply) =>
  reply.messages
    .filter((m) => m.type === 'stream')
    .map((m) => m.text)
    .join('');

it('runs TypeScript cells: values, output, types, names across cells, errors', () => {
  const replies = inKernel([
    cell('1 + 1'),
    cell('const a = await Promise.resolve(20); console.log("out"); console.error("err")'),
    cell('const twice = (x: number) => 2 * x;\n({ a, b: twice(a) })'),
    cell('const a: string = 5;'),
    cell('a'),
    cell("throw new TypeError('boom')"),
    cell("import { LoraConfig } from 'tunebook';\nnew LoraConfig({ r: 0 })"),
    cell("import * as tslab from 'tslab'; tslab.display.html('<b>x</b>')"),
    cell('for (let i = 0; i < 20000; i++) console.log(i)'),
    cell('undefined'),
  ]);
  const [sum, output, object, wrong, kept, boom, option, html, many, nothing] = replies;
  expect(sum.messages).toEqual([expect.objectContaining({ type: 'execute_result', data: { 'text/plain': '2' } })]);
  expect(output.messages.map((m) => [m.name, m.text])).toEqual([
    ['stdout', 'out\n'],
    ['stderr', 'err\n'],
  ]);
  expect(object.messages[0].data['text/plain']).toBe('{ a: 20, b: 40 }');
  expect(wrong.status).toBe('error');
  expect(plain(wrong.messages[0].traceback)).toMatch(
    /line 1:7 {2}Type 'number' is not assignable to type 'string'.\n {4}const a: string = 5;\n {10}\^/,
  );
  expect(kept.messages[0].data['text/plain']).toBe('20');
  expect(boom.messages[0]).toMatchObject({ type: 'error', ename: 'TypeError', evalue: 'boom' });
  // An error of ours is a sentence with a remedy, not a stack.
  expect(option.messages[0].traceback).toHaveLength(1);
  expect(plain(option.messages[0].traceback)).toMatch(/^OptionError: LoraConfig: r must be a whole number/);
  expect(html.messages[0]).toMatchObject({ type: 'display_data', data: { 'text/html': '<b>x</b>' } });
  expect(text(many).trim().split('\n')).toHaveLength(20000);
  expect(nothing).toMatchObject({ status: 'ok', messages: [] });
});

it('completes, inspects and knows whole from open code', () => {
  const [, complete, inspect, whole, open] = inKernel([
    cell('const answer = 42;'),
    { request: 'complete', args: ['answ', 4] },
    { request: 'inspect', args: ['answer', 3] },
    { request: 'is_complete', args: ['1 + 1'] },
    { request: 'is_complete', args: ['function f() {'] },
  ]) as unknown as Record<string, any>[];
  expect(complete.matches).toContain('answer');
  expect(inspect.data['text/plain']).toContain('const answer');
  expect([whole.status, open.status]).toEqual(['complete', 'incomplete']);
});

it('what completion offers is what is to stand in the code', () => {
  const declared = `import { SFTConfig } from 'tunebook';
    const mixed: { 'my-name'?: number; plain?: number; f?(): void; class?: 1 } = {};
    const odd = { 'a-b': 1 };
    const maybe = (Math.random() < 2 ? { 'c-d': 1 } : undefined) as { deep?: 1 } | undefined;
    const take = (o: { s?: 'all-linear' | 'all-none'; 'x-y'?: number }) => 0;`;
  // The cursor is at |; [what the code is with each of what is offered]
  const cases: [string, string[]][] = [
    ['new SFTConfig({ max_gr|', ['new SFTConfig({ max_grad_norm']],
    ['mixed.|', ['mixed.plain', 'mixed.f', 'mixed.class']],
    ['mixed.my|', ['mixed["my-name"]']],
    ['odd.|', ['odd["a-b"]']],
    ["odd['a|", ["odd['a-b"]],
    ["odd['a-|']", ["odd['a-b']"]],
    ['maybe.|', ['maybe.deep']],
    ['take({ | })', ['take({ s })', 'take({ "x-y" })']],
    ["take({ s: 'all-l|' })", ["take({ s: 'all-linear' })"]],
    ['take({ s: al| })', ['take({ s: "all-linear" })', 'take({ s: "all-none" })']],
    ['class K { #own = 1; f() { this.#| } }', ['class K { #own = 1; f() { this.#own } }']],
    ["const 𝒳 = 1; import x from 'node:fs/prom|'", ["const 𝒳 = 1; import x from 'node:fs/promises'"]],
    ["import { x } from './|'", ["import { x } from './beside'"]],
  ];
  const folder = scratch('notebook');
  writeFileSync(join(folder, 'beside.ts'), 'export const x = 1;');
  const split = cases.map(([code]) => code.split('|'));
  const asked = split.map(([before, after]) => ({ request: 'complete', args: [before + after, [...before].length] }));
  const [, ...replies] = inKernel([cell(declared), ...asked], folder);
  for (const [i, [code, expected]] of cases.entries()) {
    const { matches, cursor_start, cursor_end, metadata } = replies[i];
    const all = [...split[i].join('')];
    const made = matches.map((text: string) => [...all.slice(0, cursor_start), text, ...all.slice(cursor_end)].join(''));
    expect(made, code).toEqual(expected);
    expect(metadata._jupyter_types_experimental.map(({ text }: { text: string }) => text)).toEqual(matches);
  }
});

it('an interrupt ends a loop and an endless wait, and keeps the state', () => {
  const [, loop, wait, after] = inKernel([
    cell('let kept = 7;'),
    { code: 'console.log("go"); await null; while (true) await new Promise((r) => setTimeout(r, 5));', interrupt_on: 'go' },
    { code: 'console.log("wait"); await new Promise(() => {});', interrupt_on: 'wait' },
    cell('kept'),
  ]);
  for (const reply of [loop, wait]) expect(reply.messages.at(-1)).toMatchObject({ type: 'error', ename: 'Interrupted' });
  expect(after.messages[0].data['text/plain']).toBe('7');
});

it('training shows itself, is interrupted between steps, saves, and goes on', async () => {
  const folder = scratch('train');
  cpSync(await tinyLlama(6), join(folder, 'model'), { recursive: true });
  mkdirSync(join(folder, 'tok'));
  await tinyTokenizer().save_pretrained(join(folder, 'tok'));
  writeFileSync(
    join(folder, 'rows.jsonl'),
    Array.from({ length: 12 }, (_, i) =>
      JSON.stringify({
        messages: [
          { role: 'user', content: `q${i}` },
          { role: 'assistant', content: `a${i}` },
        ],
      }),
    ).join('\n'),
  );
  const [loaded, made, stopped, resumed] = inKernel(
    [
      cell(
        "import { AutoModelForCausalLM, AutoTokenizer, load_dataset, LoraConfig, SFTConfig, SFTTrainer } from 'tunebook';\nconst model = await AutoModelForCausalLM.from_pretrained('model');\nconst tokenizer = await AutoTokenizer.from_pretrained('tok');\nconst { train } = await load_dataset('rows.jsonl');",
      ),
      cell(
        "const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: train, peft_config: new LoraConfig({ r: 2, target_modules: 'all-linear' }), args: new SFTConfig({ output_dir: 'out', max_steps: 400, per_device_train_batch_size: 2, assistant_only_loss: true }) });",
      ),
      { code: 'const run = await trainer.train(); [run.stopped, run.global_step < 400]', interrupt_on: 'step [0-9]+/' },
      cell('const rest = await trainer.train({ resume_from_checkpoint: true }); [rest.stopped, rest.global_step]'),
    ],
    folder,
  );
  expect(loaded.messages.filter((m) => m.name === 'stderr')).toEqual([]); // no words of TensorFlow's
  expect(made.messages.some((m) => m.data?.['text/html']?.includes('to learn'))).toBe(true);
  expect(stopped.messages.at(-1).data['text/plain']).toBe('[ true, true ]');
  expect(stopped.messages.some((m) => m.data?.['text/plain']?.startsWith('Stopped after step'))).toBe(true);
  expect(resumed.messages.at(-1).data['text/plain']).toBe('[ false, 400 ]');
  const bundles = resumed.messages.map((m) => m.data).filter((d) => d?.['application/vnd.tunebook.run.v1+json']);
  const last = bundles.at(-1);
  expect(last['application/vnd.tunebook.run.v1+json']).toMatchObject({ schemaVersion: 1, status: 'finished', step: 400 });
  expect(last['text/html']).toContain('data:image/png;base64,');
  expect(Buffer.from(last['image/png'], 'base64').subarray(1, 4).toString()).toBe('PNG');
  expect(last['text/plain']).toContain('finished, step 400 of 400');
  expect(JSON.stringify(bundles[0]).length).toBeLessThan(300_000);
});

it('a second interrupt ends training at once; training again from the checkpoint gives the same losses', async () => {
  const folder = scratch('train');
  cpSync(await tinyLlama(6), join(folder, 'model'), { recursive: true });
  mkdirSync(join(folder, 'tok'));
  await tinyTokenizer().save_pretrained(join(folder, 'tok'));
  const setUp = `
    import { AutoModelForCausalLM, AutoTokenizer, Dataset, LoraConfig, memoryUsage, SFTConfig, SFTTrainer } from 'tunebook';
    const model = await AutoModelForCausalLM.from_pretrained('model');
    const processing_class = await AutoTokenizer.from_pretrained('tok');
    const train_dataset = Dataset.from_list(Array.from({ length: 40 }, (_, i) => ({ prompt: 'q' + i, completion: 'a'.repeat(300) })));
    const options = { max_steps: 30, save_steps: 2, per_device_train_batch_size: 8, learning_rate: 1e-2, lr_scheduler_type: 'constant' };
    const make = (output_dir: string) => new SFTTrainer({ model, processing_class, train_dataset, peft_config: new LoraConfig({ r: 2, target_modules: 'all-linear' }), args: new SFTConfig({ ...options, output_dir }) });
    const losses = (trainer: SFTTrainer) => trainer.run!.series.loss.map((point) => point[1]);
    const trainer = make('out');`;
  const [, ended, memory, resumed, whole] = inKernel(
    [
      cell(setUp),
      {
        // However fast a step is, the second interrupt finds the run still at the first.
        code: `
          const flag = (globalThis as any)[Symbol.for('tunebook.interrupt')];
          process.once('SIGINT', () => { while (!Atomics.load(flag, 0)); });
          await trainer.train()`,
        interrupt_on: 'step ([2-9]|1[0-9]|2[0-8])/',
        interrupts: 2,
      },
      cell('const { native, tensors } = memoryUsage(); trainer.run!.status'),
      cell(
        'await trainer.train({ resume_from_checkpoint: true }); const made = losses(trainer); trainer.model.unload(); [made.length, memoryUsage().native === native]',
      ),
      cell(
        "const other = make('again'); await other.train(); const all = losses(other); all.length === 30 && all.every((loss, i) => loss === made[i])",
      ),
    ],
    folder,
  );
  expect(ended.messages.at(-1)).toMatchObject({ type: 'error', ename: 'Interrupted' });
  expect([memory, resumed, whole].map((reply) => reply.messages.at(-1)?.data?.['text/plain'])).toEqual([
    "'stopped'",
    '[ 30, true ]',
    'true',
  ]);
});
