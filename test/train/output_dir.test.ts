import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import { Dataset, LoraConfig, on, SFTConfig, SFTTrainer } from '../../src/index';
import { AutoModelForCausalLM } from '../../src/models/auto';
import { checkpointsIn, checkpointsOf, tidy } from '../../src/train/output_dir';
import type { TrainOutput } from '../../src/train/state';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const rows = Dataset.from_list(Array.from({ length: 16 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`)));
let model: string;
/** A folder in which a run of 12 steps has saved at every third, and its losses. */
let older: { folder: string; losses: number[] };

beforeAll(async () => {
  model = await tinyLlama(3);
  const { trainer } = await train({ output_dir: scratch('older'), save_steps: 3, max_steps: 12 });
  older = { folder: trainer.args.output_dir, losses: losses(trainer) };
});

async function make(args: Record<string, unknown>, lora = {}): Promise<SFTTrainer> {
  const config = { disable_tqdm: true, assistant_only_loss: true, learning_rate: 1e-2, per_device_train_batch_size: 4 };
  return new SFTTrainer({
    model: await AutoModelForCausalLM.from_pretrained(model, { progress: false }),
    processing_class: tokenizer,
    train_dataset: rows,
    peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'], ...lora }),
    args: new SFTConfig({ ...config, save_strategy: 'steps', ...args }),
  });
}

/** Trains, and says what was warned of. */
async function train(args: Record<string, unknown>, resume: string | boolean = false, from?: SFTTrainer) {
  const warnings: string[] = [];
  const off = on('warning', ({ text }) => warnings.push(text));
  const quiet = vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  const trainer = from ?? (await make(args));
  const result: TrainOutput | Error = await trainer.train({ resume_from_checkpoint: resume }).catch((error: Error) => error);
  quiet.mockRestore();
  off();
  return { trainer, result, warnings: warnings.join('\n') };
}

const losses = (trainer: SFTTrainer) => trainer.run!.series.loss.map(([, value]) => value);
const steps = (folder: string) => checkpointsIn(folder).map(({ step }) => step);
const done = (result: TrainOutput | Error): TrainOutput => {
  if (result instanceof Error) throw result;
  return result;
};
/** The older run's folder, to be changed. */
function copy(): string {
  const folder = scratch('copy');
  cpSync(older.folder, folder, { recursive: true });
  return folder;
}

it('a fresh run beside an older, longer one keeps its own work, leaves the other alone and says so', async () => {
  const output_dir = copy();
  writeFileSync(join(output_dir, 'adapter_model.safetensors'), 'of save_model()');
  for (const name of ['checkpoint-foo', 'checkpoint-5.bak', 'checkpoint-3.old', 'checkpoint-', 'checkpoint-1e1'])
    mkdirSync(join(output_dir, name));
  writeFileSync(join(output_dir, 'checkpoint-1'), 'a file');
  const before = readdirSync(output_dir);
  const args = { output_dir, max_steps: 4, save_steps: 2, save_total_limit: 1, learning_rate: 2e-2, report_to: 'tensorboard' };
  const { trainer, result, warnings } = await train(args);
  expect(done(result).checkpoint).toBe(join(output_dir, 'checkpoint-4'));
  expect(steps(output_dir)).toEqual([3, 6, 9, 12, 4]);
  expect(readdirSync(output_dir).sort()).toEqual([...before, 'checkpoint-4', 'runs'].sort());
  expect(warnings).toMatch(
    `'${output_dir}' holds 4 checkpoints of another run: checkpoint-3 to checkpoint-12, last saved ${new Date().toISOString().slice(0, 10)}`,
  );
  expect(warnings).toMatch(/do not count towards save_total_limit.*Give another output_dir/);
  expect(trainer.run!.events.filter(({ kind }) => kind === 'warning')).toHaveLength(1);
  // Resumed by whoever comes next, it is the newer run that goes on; the views show each run's own.
  const next = await train({ ...args, max_steps: 6 }, true);
  expect(losses(next.trainer).slice(0, 4)).toEqual(losses(trainer));
  expect(next.trainer.run!.events[0].text).toMatch(/^resumed from checkpoint-4, .*: steps in all 4 -> 6$/);
  expect(checkpointsOf(output_dir).map(({ step }) => step)).toEqual([6]);
  expect(checkpointsOf(join(output_dir, 'checkpoint-12')).map(({ step }) => step)).toEqual([3, 9, 12]); // its 6 was replaced
  const boards = readdirSync(join(output_dir, 'runs'), { recursive: true }) as string[];
  expect(boards.filter((name) => name.includes('events.out'))).toHaveLength(2);
});

it('a run over the same steps takes the places one after another, with any limit', async () => {
  for (const save_total_limit of [1, 2, null, 0]) {
    const output_dir = copy();
    const { trainer, result } = await train({ output_dir, max_steps: 12, save_steps: 3, save_total_limit, learning_rate: 2e-2 });
    expect(existsSync(done(result).checkpoint!)).toBe(true);
    expect(steps(output_dir)).toEqual([3, 6, 9, 12].slice(save_total_limit ? -save_total_limit : 0));
    expect(trainer.run!.checkpoints.every((path) => existsSync(path))).toBe(true);
    const next = await train({ output_dir, max_steps: 12, save_steps: 3, learning_rate: 2e-2 }, true);
    expect(losses(next.trainer)).toEqual(losses(trainer));
  }
  await expect(make({ save_total_limit: 1.5 })).rejects.toThrow(/save_total_limit must be a whole number, but is 1.5/);
});

it('a resumed run keeps what led to it as its limit says, and not what lies beyond', async () => {
  const output_dir = copy();
  const branch = await train({ output_dir, max_steps: 7, save_steps: 7, save_total_limit: 1 }, join(output_dir, 'checkpoint-6'));
  expect(branch.warnings).toMatch(
    /holds 2 checkpoints beyond step 6, which this run resumes from: checkpoint-9, checkpoint-12, .*They stay/,
  );
  expect(done(branch.result).checkpoint).toBe(join(output_dir, 'checkpoint-7'));
  expect(steps(output_dir)).toEqual([9, 12, 7]);
  const next = await train({ output_dir, max_steps: 14, save_steps: 2, save_total_limit: 2 }, true);
  expect(next.trainer.run!.events[0].text).toMatch(/^resumed from checkpoint-7/);
  expect(losses(next.trainer).slice(0, 6)).toEqual(older.losses.slice(0, 6));
  expect(steps(output_dir)).toEqual([9, 12, 14]); // its own 12, in the place of the other, and 14
  expect(checkpointsOf(output_dir).map(({ step }) => step)).toEqual([12, 14]);
});

it('which run is newer does not depend on the clock', async () => {
  const output_dir = copy();
  const clock = vi.spyOn(Date, 'now').mockReturnValue(Date.now() - 1e9);
  const { trainer } = await train({ output_dir, max_steps: 4, save_steps: 2, learning_rate: 2e-2 });
  clock.mockRestore();
  expect(steps(output_dir)).toEqual([3, 6, 9, 12, 2, 4]);
  const next = await train({ output_dir, max_steps: 4, save_steps: 2, learning_rate: 2e-2 }, true);
  expect(losses(next.trainer)).toEqual(losses(trainer));
});

it.each([
  ['optimizer.safetensors', (path: string) => truncateSync(path, 2000), /optimizer\.safetensors is truncated or damaged/],
  ['trainer_state.json', (path: string) => truncateSync(path, 0), /trainer_state\.json is not JSON/],
  ['trainer_state.json', (path: string) => rmSync(path), /it has no trainer_state\.json/],
  ['trainer_state.json', (path: string) => writeFileSync(path, '{"global_step": 12}'), /does not say how to go on/],
  ['adapter_model.safetensors', (path: string) => truncateSync(path, 4), /adapter_model\.safetensors is not a whole safetensors file/],
  ['adapter_model.safetensors', (path: string) => rmSync(path), /it has no adapter_model\.safetensors/],
])('a damaged newest checkpoint (%s) is passed over for the one before it', async (file, damage, why) => {
  const output_dir = copy();
  const twelve = join(output_dir, 'checkpoint-12');
  damage(join(twelve, file));
  const args = { output_dir, max_steps: 12, save_steps: 3 };
  const { trainer, warnings } = await train(args, true);
  expect(warnings).toMatch(/^Resuming from '.*checkpoint-9': checkpoint-12 \(.*\) cannot be resumed\./);
  expect(warnings).toMatch(why);
  expect(losses(trainer)).toEqual(older.losses);
  const whole = JSON.parse(readFileSync(join(twelve, 'trainer_state.json'), 'utf8')); // it was saved anew
  expect(whole.global_step).toBe(12);
  damage(join(twelve, file));
  expect(String((await train(args, twelve)).result)).toMatch(why);
  for (const step of [3, 6, 9]) damage(join(output_dir, `checkpoint-${step}`, file));
  expect(String((await train(args, true)).result)).toMatch(
    /No checkpoint in '.*' can be resumed: checkpoint-12 \(.* and 1 more\. Start afresh/,
  );
});

it('checkpoints that do not say whose they are go by time, and are never deleted', async () => {
  const output_dir = copy();
  const first = await train({ output_dir, max_steps: 4, save_steps: 2, learning_rate: 2e-2 });
  for (const [i, { path }] of checkpointsIn(output_dir).entries()) {
    rmSync(join(path, 'run.json')); // as earlier versions saved them
    utimesSync(join(path, 'trainer_state.json'), 1e9 + i, 1e9 + i);
  }
  const { trainer } = await train({ output_dir, max_steps: 8, save_steps: 2, save_total_limit: 1, learning_rate: 2e-2 }, true);
  expect(losses(trainer).slice(0, 4)).toEqual(losses(first.trainer));
  expect(steps(output_dir)).toEqual([3, 9, 12, 2, 4, 8]); // 6 it has taken itself, and given up
  const theirs = join(output_dir, 'checkpoint-20');
  mkdirSync(theirs);
  for (const name of ['trainer_state.json', 'optimizer.pt', 'adapter_model.safetensors']) writeFileSync(join(theirs, name), '{}');
  utimesSync(join(theirs, 'trainer_state.json'), 3e9, 3e9);
  const next = await train({ output_dir, max_steps: 9, save_steps: 9, save_total_limit: 1, learning_rate: 2e-2 }, true);
  expect(next.warnings).toMatch(/checkpoint-20 \(it was saved by transformers, whose optimizer\.pt is not read here\) cannot be resumed/);
  expect(losses(next.trainer).slice(0, 8)).toEqual(losses(trainer));
  expect(steps(output_dir)).toEqual([3, 12, 2, 4, 20, 9]);
});

it('a trainer resumes its own run, and says where it has to take another', async () => {
  const output_dir = scratch('own');
  const first = await make({ output_dir, max_steps: 6, save_steps: 3 });
  await train({}, false, first);
  await train({ output_dir, max_steps: 8, save_steps: 4, learning_rate: 2e-2 });
  const own = losses(first);
  await train({}, true, first);
  expect(losses(first)).toEqual(own);
  const idle = await make({ output_dir, max_steps: 2, save_strategy: 'no', learning_rate: 2e-2 });
  await train({}, false, idle);
  idle.args.max_steps = 9;
  const { warnings } = await train({}, true, idle);
  expect(warnings).toMatch(/Resuming from '.*checkpoint-8': the trainer's own run has saved none\./);
});

it('two runs at once in one folder delete nothing of each other, and say that they met', async () => {
  const output_dir = scratch('both');
  const [a, b] = [
    await make({ output_dir, max_steps: 9, save_steps: 3, save_total_limit: 1 }),
    await make({ output_dir, max_steps: 10, save_steps: 5, save_total_limit: 1, learning_rate: 2e-2 }),
  ];
  const [one, two] = await Promise.all([train({}, false, a), train({}, false, b)]);
  expect([one, two].map(({ result }) => done(result).checkpoint)).toEqual([9, 10].map((step) => join(output_dir, `checkpoint-${step}`)));
  expect(steps(output_dir).sort()).toEqual([10, 9]);
  expect(one.warnings + two.warnings).toMatch(/Another run saves into '.*' at the same time \(checkpoint-\d+\)/);
});

it('what has changed since a checkpoint was saved is said, or refused before anything is changed', async () => {
  const output_dir = copy();
  const args = { output_dir, max_steps: 12, save_steps: 3, learning_rate: 3e-3, weight_decay: 0.1 };
  const other = await make(args, { lora_alpha: 32 });
  const { warnings } = await train({}, true, other);
  expect(warnings).toMatch(
    /Resuming from '.*checkpoint-12', with other settings than it was saved with: learning_rate 0\.01 -> 0\.003, weight_decay 0 -> 0\.1, lora_alpha 8 -> 32\./,
  );
  expect((await train({ output_dir, max_steps: 12, save_steps: 3 }, true)).warnings).toBe('');
  await train({ output_dir, max_steps: 4, save_steps: 4, per_device_train_batch_size: 2 });
  const same = await make({ output_dir, max_steps: 12 });
  const values = () => [...same.model.namedParameters().values()].map(({ tensor }) => Array.from(tensor.dataSync()));
  const before = values();
  const { result } = await train({}, true, same);
  expect(String(result)).toMatch(/'.*checkpoint-4' was made with other data or batches.*'.*checkpoint-12' was made with those of now/);
  expect(values()).toEqual(before);
});

it('what processes left behind that died is cleared up; what others are at work on is not', () => {
  const output_dir = copy();
  const { pid: dead } = spawnSync('true');
  const alive = process.ppid;
  const six = join(output_dir, 'checkpoint-6');
  cpSync(six, `${six}.old-${dead}.1`, { recursive: true });
  rmSync(six, { recursive: true });
  const nine = join(output_dir, 'checkpoint-9');
  cpSync(nine, `${nine}.old-${dead}.1`, { recursive: true });
  for (const left of [`checkpoint-15.partial-${dead}.2`, 'checkpoint-15.partial', `checkpoint-18.partial-${process.pid}.0`])
    mkdirSync(join(output_dir, left));
  const kept = [`checkpoint-15.partial-${alive}.1`, `checkpoint-21.old-${alive}.1`, 'checkpoint-12.old', 'checkpoint-9.old-copy'];
  for (const name of kept) mkdirSync(join(output_dir, name));
  tidy(output_dir);
  expect(readdirSync(output_dir).sort()).toEqual([...['3', '6', '9', '12'].map((n) => `checkpoint-${n}`), ...kept, 'log.jsonl'].sort());
});
