import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, Dataset, LoraConfig, on, PeftModel, SFTConfig, SFTTrainer, sweep, TrainerCallback } from '../../src/index';
import { sweepBundle } from '../../src/notebook/sweep_view';
import { variantsOf } from '../../src/trainers/sweep/grid';
import type { SweepData } from '../../src/trainers/sweep/record';
import { parseSweep, SWEEP_MIME } from '../../views/src';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const rows = Dataset.from_list(Array.from({ length: 8 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`)));
const folder = await tinyLlama(3);
const model = () => AutoModelForCausalLM.from_pretrained(folder, { progress: false });
const args = (more: object = {}) =>
  new SFTConfig({ output_dir: scratch('sweep'), max_steps: 4, learning_rate: 1e-2, assistant_only_loss: true, save_steps: 2, ...more });
const base = async (more: object = {}) => ({
  model: await model(),
  processing_class: tokenizer,
  train_dataset: rows,
  eval_dataset: rows.select([0, 1]),
  peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
  ...more,
});
const losses = (trainer: { state: { log_history: object[] } }) =>
  trainer.state.log_history.flatMap((entry) => ('loss' in entry ? [entry.loss] : []));

it('a folder has its run’s name as far as file systems take it, and no two runs have one', () => {
  const layers = (last: string) => Array.from({ length: 20 }, (_, i) => `model.layers.${i}.self_attn.${i < 19 ? 'q_proj' : last}`);
  const vary = { r: [4], target_modules: [layers('k_proj'), layers('v_proj'), ['q_proj', 'k_proj'], '.*q', '.*q\\d', '.*q(d)'] };
  const folders = variantsOf(vary, [], ['r', 'target_modules']).map((variant) => variant.folder);
  expect(new Set(folders).size).toBe(folders.length);
  expect(folders[2]).toBe('r=4_target_modules=q_proj+k_proj');
  for (const folder of folders) expect(folder).toMatch(/^[\w.+=-]{1,120}$/);
  expect(variantsOf(vary, [], ['r', 'target_modules']).map((variant) => variant.folder)).toEqual(folders);
});

it('every combination is a run as it would be alone, with the base loaded once, and the best is named', async () => {
  const config = args({ logging_steps: 1 });
  const given = await base({ args: config });
  const seen: [string, SweepData['status']][] = [];
  const off = on('sweep', ({ sweep: data, what }) => seen.push([what, (data as SweepData).status]));
  const found = await sweep({ base: given, vary: { r: [1, 4], target_modules: [['q_proj'], 'all-linear'] } });
  off();
  expect(found.runs.map(({ name, status, step }) => [name, status, step])).toEqual(
    ['r=1, target_modules=q_proj', 'r=1, target_modules=all-linear', 'r=4, target_modules=q_proj', 'r=4, target_modules=all-linear'].map(
      (name) => [name, 'finished', 4],
    ),
  );
  expect(found.runs.map(({ parameters }) => parameters)).toEqual([128, 928, 512, 3712]);
  const scores = found.runs.map(({ score }) => score as number);
  expect(found.best).toBe(found.runs[scores.indexOf(Math.min(...scores))]);
  expect(seen[0]).toEqual(['begin', 'running']);
  expect(seen.at(-1)).toEqual(['end', 'finished']);
  // The last of them alone: the same bits.
  const peft_config = new LoraConfig({ r: 4, target_modules: 'all-linear' });
  const alone = new SFTTrainer({ ...(await base({ args: args() })), peft_config });
  await alone.train();
  await alone.save_model();
  const file = 'adapter_model.safetensors';
  expect(readFileSync(join(found.runs[3].folder, file)).equals(readFileSync(join(alone.args.output_dir, file)))).toBe(true);
  expect((await alone.evaluate()).eval_loss).toBe(scores[3]);
  expect(found.runs[3].loss).toEqual(alone.run?.series.loss);
  expect(losses(alone)).toHaveLength(0); // logging_steps is 10 there
  // The best is there to be used.
  const best = await PeftModel.from_pretrained(given.model, found.best!.folder);
  expect(best.active_adapters).toEqual(['default']);
  best.unload();
  // What readers without the extension see.
  const bundle = sweepBundle({ ...found.data, updatedAt: '' });
  expect(parseSweep(JSON.parse(JSON.stringify(bundle[SWEEP_MIME])))).toMatchObject({
    best: found.data.best,
    vary: ['r', 'target_modules'],
  });
  expect(bundle['text/plain']).toContain(`best: ${found.best?.name}`);
  expect(String(bundle['text/html'])).toContain('r=4, target_modules=q_proj');
});

it('without an adapter each run begins with the weights as they were', async () => {
  const found = await sweep({
    base: await base({ args: args({ max_steps: 2 }), peft_config: null, eval_dataset: null }),
    vary: { learning_rate: [1e-2, 1e-3] },
  });
  expect(found.runs[0].loss[0]).toEqual(found.runs[1].loss[0]);
  expect(found.runs[0].loss[1]).not.toEqual(found.runs[1].loss[1]);
  expect(found.best?.name).toBe('learning_rate=0.01');
  expect(found.data.score).toBe('loss');
});

it('a run that is stopped ends alone; a run that fails is told, and the others go on', async () => {
  const config = args({ max_steps: 30 });
  class Stop extends TrainerCallback {
    override on_step_end(given: { learning_rate: number }, state: { global_step: number }, _: unknown, { trainer }: any) {
      if (given.learning_rate === 0.5 && state.global_step === 2) void trainer.stop();
      if (given.learning_rate === 0.25) throw new Error('no more');
    }
  }
  const found = await sweep({ base: await base({ args: config, callbacks: [Stop as never] }), vary: { learning_rate: [0.5, 0.25, 0.01] } });
  expect(found.runs.map(({ status }) => status)).toEqual(['stopped', 'failed', 'finished']);
  expect(found.runs[0].step).toBeLessThan(5);
  expect(found.runs[1].text).toContain('Stop failed in on_step_end after step 1: no more');
  expect(found.data.status).toBe('finished');
});

it('an interrupt ends the sweep after its step, saved; called again it goes on there', async () => {
  const config = args({ max_steps: 6 });
  let interrupts = true;
  const once = {
    on_step_end: (_: unknown, { global_step }: { global_step: number }) => interrupts && global_step === 3 && process.emit('SIGINT'),
  };
  const options = { base: await base({ args: config, callbacks: [once as never] }), vary: { r: [1, 4] } };
  const first = await sweep(options);
  expect(first.data.status).toBe('stopped');
  expect(first.runs.map(({ status, step }) => [status, step])).toEqual([
    ['running', 3],
    ['waiting', 0],
  ]);
  interrupts = false;
  const second = await sweep(options);
  expect(second.runs.map(({ status, step }) => [status, step])).toEqual(Array(2).fill(['finished', 6]));
  const whole = await sweep({ base: await base({ args: args({ max_steps: 6 }) }), vary: { r: [1] } });
  expect(second.runs[0].loss).toEqual(whole.runs[0].loss);
  const third = await sweep(options);
  expect(third.runs).toEqual(second.runs);
});

it('a sweep that is killed goes on where it was: what is finished is kept, what was trained is resumed to the bit', async () => {
  const output_dir = join(scratch('killed'), 'not', 'there', 'yet');
  const code = `
    const { AutoModelForCausalLM, AutoTokenizer, Dataset, LoraConfig, SFTConfig, sweep } = require(${JSON.stringify(resolve('lib/index.js'))});
    (async () => {
      await sweep({
        base: {
          model: ${JSON.stringify(folder)}, processing_class: await AutoTokenizer.from_pretrained(process.argv[1]),
          train_dataset: Dataset.from_list(${JSON.stringify([...rows])}), eval_dataset: Dataset.from_list(${JSON.stringify([...rows.select([0, 1])])}),
          peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
          args: new SFTConfig(${JSON.stringify({ ...args({ output_dir }) })}),
          ...(process.argv[2] === 'kill' && { callbacks: [{ on_step_end(args, state) { if (args.output_dir.includes('r-4') || args.output_dir.includes('r=4')) if (state.global_step === 3) process.kill(process.pid, 'SIGKILL'); } }] }),
        },
        vary: { r: [1, 4] },
      });
    })();`;
  const tok = scratch('tok');
  await tokenizer.save_pretrained(tok);
  const run = async (how: string) => {
    const child = spawn(process.execPath, ['-e', code, tok, how], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (data) => {
      said += data;
    });
    const [exit, signal] = await once(child, 'close');
    return { exit, signal, said };
  };
  expect((await run('kill')).signal).toBe('SIGKILL');
  const before = JSON.parse(readFileSync(join(output_dir, 'sweep.json'), 'utf8'));
  expect(before.runs.map(({ status }: { status: string }) => status)).toEqual(['finished', 'running']);
  const written = readdirSync(before.runs[0].folder).length;
  const { exit, said } = await run('go on');
  expect(exit, said).toBe(0);
  const after = JSON.parse(readFileSync(join(output_dir, 'sweep.json'), 'utf8'));
  expect(after.runs[0]).toEqual(before.runs[0]);
  expect(readdirSync(before.runs[0].folder).length).toBe(written);
  expect(after.runs[1].status).toBe('finished');
  expect(existsSync(join(after.runs[1].folder, 'checkpoint-2'))).toBe(true);
  const whole = await sweep({ base: await base({ args: args() }), vary: { r: [4] } });
  expect(after.runs[1].score).toBe(whole.runs[0].score);
  expect(after.runs[1].loss).toEqual(whole.runs[0].loss);
});

/** Counts the steps of all runs. */
function counter() {
  const its = { steps: 0, on_step_end: () => void its.steps++ };
  return its;
}
const kept = (config: SFTConfig) => JSON.parse(readFileSync(join(config.output_dir, 'sweep.json'), 'utf8')) as SweepData;

it('by another score runs are compared anew, without training; what its rows become is a part of what a run is', async () => {
  const steps = counter();
  const config = args({ eval_strategy: 'steps', eval_steps: 2 });
  const given = await base({ args: config, callbacks: [steps as never] });
  const vary = { r: [1, 4] };
  const first = await sweep({ base: given, vary });
  expect(steps.steps).toBe(8);
  const scores = first.runs.map(({ score }) => score as number);
  const by = async (score: NonNullable<Parameters<typeof sweep>[0]['score']>, more: object = {}) => {
    const found = await sweep({ base: given, vary, score, ...more });
    expect(kept(config)).toMatchObject({ status: 'finished', score: typeof score === 'function' ? 'score' : score });
    return found;
  };
  const perplexity = await by('perplexity');
  expect(perplexity.runs.map(({ score }) => score)).toEqual(scores.map((loss) => expect.closeTo(Math.exp(loss), 4)));
  expect(perplexity.best?.name).toBe(first.best?.name);
  // What is saved is what a function is given; the state is that of the run.
  const weighed = async (trainer: SFTTrainer) => (await trainer.evaluate()).eval_loss + trainer.state.global_step;
  const worst = await by(weighed, { greater_is_better: true });
  expect(worst.runs.map(({ score }) => score)).toEqual(scores.map((loss) => expect.closeTo(4 + loss, 5)));
  expect(worst.best?.name).not.toBe(first.best?.name);
  const loss = await by('loss');
  expect(loss.runs.map(({ score }) => score)).toEqual(first.runs.map((run) => run.loss.at(-1)?.[1]));
  await expect(by(() => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
  expect(kept(config)).toMatchObject({
    status: 'failed',
    runs: [{ status: 'finished', score: null, text: 'mine' }, { status: 'finished' }],
  });
  expect((await by('eval_loss')).runs.map(({ score, text }) => [score, text])).toEqual(scores.map((its) => [its, '']));
  expect(steps.steps, 'nothing was trained again').toBe(8);
  const asked = (row: any): string => row.messages[0].content;
  await sweep({
    base: { ...given, args: args({ output_dir: config.output_dir, assistant_only_loss: false }), formatting_func: asked },
    vary,
  });
  expect(steps.steps, 'other texts').toBe(16);
  const other = (row: any) => asked(row).toUpperCase();
  await sweep({
    base: { ...given, args: args({ output_dir: config.output_dir, assistant_only_loss: false }), formatting_func: other },
    vary,
  });
  expect(steps.steps, 'another formatting_func').toBe(24);
  const template = tinyTokenizer();
  template.chat_template = (template.chat_template as string).replaceAll('<|im_start|>', '<|im_start|> ');
  await sweep({ base: { ...given, processing_class: template }, vary });
  expect(steps.steps, 'another template').toBe(32);
});

it('the score is that of the model which is saved: of the best checkpoint where that is loaded in the end', async () => {
  const forgets = {
    on_step_end: (_: unknown, { global_step }: { global_step: number }, __: unknown, { model: its }: { model: PeftModel<any> }) => {
      if (global_step > 2)
        for (const p of its.namedParameters().values()) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, 2, 'float32', 1)));
    },
  };
  const config = args({ eval_strategy: 'steps', eval_steps: 2, load_best_model_at_end: true });
  for (const score of ['eval_loss', 'perplexity']) {
    const peft_config = new LoraConfig({ target_modules: 'all-linear' });
    const given = await base({ args: config, peft_config, callbacks: [forgets as never] });
    const { runs } = await sweep({ base: given, vary: { r: [2] }, score });
    const [[, best], [, last]] = runs[0].eval_loss;
    expect(last).toBeGreaterThan(best);
    expect(runs[0].score).toBeCloseTo(score === 'perplexity' ? Math.exp(best) : best, 4);
  }
});

it('a score that evaluations do not have is told before a step, or by the first evaluation', async () => {
  const steps = counter();
  const config = args({ eval_strategy: 'steps', eval_steps: 1 });
  const given = await base({ args: config, callbacks: [steps as never] });
  await expect(sweep({ base: given, vary: { r: [1, 4] }, score: 'perplexty' })).rejects.toThrow("Did you mean 'perplexity'?");
  expect(steps.steps).toBe(0);
  const own = { ...given, compute_metrics: () => ({ f1: 1 }) };
  await expect(sweep({ base: own, vary: { r: [1, 4] }, score: 'f2' })).rejects.toThrow(
    /score = 'f2' is no figure of evaluations; these have .*eval_f1/,
  );
  expect(steps.steps).toBe(1);
  expect(kept(config)).toMatchObject({ status: 'failed', runs: [{ status: 'failed' }, { status: 'waiting' }] });
});

it('a model that is trained whole is afterwards as it was, and no tensor is left; a picture that cannot be drawn costs nothing', async () => {
  const whole = (await model()).requires_grad_();
  const values = () => [...whole.namedParameters().values()].map(({ tensor }) => [...tensor.dataSync()]);
  const before = values();
  const warnings: string[] = [];
  const offs = [
    on('sweep', ({ what, waits }) => what === 'end' && waits?.push(Promise.reject(new Error('no pen')))),
    on('warning', ({ text }) => warnings.push(text)),
  ];
  const config = args({ max_steps: 1, save_strategy: 'no' });
  const given = await base({ model: whole, args: config, peft_config: null });
  const found = await sweep({ base: given, vary: { learning_rate: [1e-2, 1e-3] } });
  const { numTensors } = tf.memory();
  await sweep({ base: { ...given, args: args({ max_steps: 1, save_strategy: 'no' }) }, vary: { learning_rate: [1e-2, 1e-3] } });
  for (const off of offs) off();
  expect([found.data.status, kept(config).status]).toEqual(['finished', 'finished']);
  expect(warnings.join()).toContain('no pen');
  expect(values()).toEqual(before);
  expect(tf.memory().numTensors).toBe(numTensors);
});

it('an interrupt that comes while a trainer is made ends the sweep there', async () => {
  let interrupts = true;
  const early = { on_init_end: () => void (interrupts && process.emit('SIGINT')) };
  const config = args({ max_steps: 2 });
  const options = { base: await base({ args: config, callbacks: [early as never] }), vary: { r: [1, 4] } };
  const first = await sweep(options);
  expect([first.data.status, kept(config).status]).toEqual(['stopped', 'stopped']);
  expect(first.runs.map(({ status, step }) => [status, step])).toEqual(Array(2).fill(['waiting', 0]));
  interrupts = false;
  expect((await sweep(options)).runs.map(({ status, step }) => [status, step])).toEqual(Array(2).fill(['finished', 2]));
});

it.each([
  [{ vary: { lr: [1] } }, 'vary names lr, which is no option of the training or the adapter'],
  [{ vary: { rank_patern: [1] } }, 'Did you mean rank_pattern?'],
  [{ vary: { r: 4 } }, 'vary.r must be a list of values to try, but is 4'],
  [{ vary: {} }, 'sweep needs vary'],
  [{ vary: { r: [4, 4] } }, 'two of its runs would be called'],
  [{ vary: { r: [4, 0] } }, 'r must be a whole number of at least 1, but is 0'],
  [{ vary: { target_modules: [['q_proj'], ['nowhere']] } }, "'nowhere'"],
  [{ vary: { r: [1] }, score: 'rouge' }, "sweep: score = 'rouge' is no figure of an evaluation"],
] as const)('%j is refused: %s', async (options, text) => {
  const off = on('sweep', () => {});
  await expect(sweep({ base: await base({ args: args({ max_steps: 1 }) }), ...(options as object) })).rejects.toThrow(text);
  off();
});
