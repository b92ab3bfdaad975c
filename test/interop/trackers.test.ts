import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { on } from '../../src/index';
import { python } from '../hub/python';
import { scratch } from '../tiny';
import { make } from '../train/small_runs';

const bin = resolve('.venv-test/bin');
const port = await new Promise<number>((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address() as { port: number };
    server.close(() => done(port));
  });
});
const uri = `http://127.0.0.1:${port}`;
let server: ChildProcess;
const [trackio, wandb] = [scratch('trackio'), scratch('wandb')];

beforeAll(() => {
  const folder = scratch('mlflow');
  const args = ['server', '--backend-store-uri', `sqlite:///${folder}/runs.db`, '--port', String(port), '--workers', '1'];
  // It starts while the other packages are tried; in a group of its own, since it has children.
  server = spawn(join(bin, 'mlflow'), args, {
    cwd: folder,
    stdio: 'ignore',
    detached: true,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false' },
  });
  const set = {
    TUNEBOOK_PYTHON: join(bin, 'python'),
    TRACKIO_DIR: trackio,
    WANDB_DIR: wandb,
    MLFLOW_TRACKING_URI: uri,
    MLFLOW_EXPERIMENT_NAME: 'ours',
  };
  Object.assign(process.env, set, { MLFLOW_TAGS: '{"who": "we"}' });
});
afterAll(() => {
  try {
    process.kill(-(server.pid as number), 'SIGKILL');
  } catch {} // the last test has ended it
});

const RUN = { max_steps: 4, logging_steps: 2, eval_strategy: 'steps', eval_steps: 4 };
const trained = async (report_to: string | string[], more: object = {}) => {
  const trainer = await make([], { ...RUN, report_to, run_name: 'a run', project: 'our-project', ...more });
  await trainer.train();
  return trainer;
};
type Trainer = Awaited<ReturnType<typeof trained>>;
/** What was logged, by step, under transformers' names. */
const tracked = ({ state }: Trainer) =>
  state.log_history.map(({ step, ...rest }) => ({
    step,
    figures: Object.fromEntries(
      Object.entries(rest).map(([name, value]) => [name.startsWith('eval_') ? `eval/${name.slice(5)}` : `train/${name}`, value]),
    ),
  }));

it('log.jsonl has every run of a folder, with its settings, what it logged and how it ended', async () => {
  const output_dir = scratch('log');
  const [first, second] = [await trained('none', { output_dir }), await trained('none', { output_dir, max_steps: 2 })];
  const lines = readFileSync(join(output_dir, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  for (const { run, state } of [first, second]) {
    const [begin, ...rest] = lines.filter((line) => line.run === run?.id);
    expect(begin).toMatchObject({ name: 'a run', step: 0, config: { logging_steps: 2, output_dir } });
    expect(rest.pop()).toEqual({ run: run?.id, step: state.global_step, ended: 'finished' });
    const plain = rest.map(({ run: _, tokens_per_second: __, resident_bytes: ___, ...entry }) => entry);
    expect(plain).toEqual(state.log_history);
    expect(rest[0].tokens_per_second).toBeGreaterThan(0);
  }
});

it("TensorBoard's own reader finds transformers' tags, settings as texts, and histograms of what is trained", async () => {
  const logging_dir = scratch('board');
  const trainer = await trained('tensorboard', { logging_dir });
  const read = await python<{
    scalars: Record<string, [number, number][]>;
    texts: Record<string, string>;
    histograms: Record<string, number[]>;
  }>(
    `
import json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(${JSON.stringify(logging_dir)}, size_guidance={"histograms": 0, "tensors": 0, "scalars": 0})
events.Reload()
tags = events.Tags()
def histogram(tag):
    last = events.Histograms(tag)[-1].histogram_value
    return [last.num, last.min, last.max, sum(last.bucket), last.sum]
def text(tag):
    assert events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    return events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "texts": {tag: text(tag) for tag in tags["tensors"]},
    "histograms": {tag: histogram(tag) for tag in tags["histograms"]},
}))`,
    {},
  );
  for (const { step, figures } of tracked(trainer))
    for (const [tag, value] of Object.entries(figures))
      expect(read.scalars[tag].find(([at]) => at === step)?.[1], tag).toBeCloseTo(value as number, 4);
  expect(Object.keys(read.texts).sort()).toEqual(['args/text_summary', 'model_config/text_summary']);
  expect(JSON.parse(read.texts['args/text_summary'])).toMatchObject({ logging_steps: 2, run_name: 'a run' });
  expect(JSON.parse(read.texts['model_config/text_summary'])).toMatchObject({ model_type: 'llama', hidden_size: 32 });
  const parameters = [...trainer.model.namedParameters()];
  expect(Object.keys(read.histograms).sort()).toEqual(parameters.map(([name]) => name).sort());
  for (const [name, { tensor }] of parameters) {
    const values = await tensor.data();
    const [count, low, high, counted, sum] = read.histograms[name];
    expect([count, counted, low, high], name).toEqual([values.length, values.length, Math.min(...values), Math.max(...values)]);
    expect(sum).toBeCloseTo(
      [...values].reduce((a, b) => a + b, 0),
      4,
    );
  }
});

it("trackio's own package reads what it is told", async () => {
  const trainer = await trained('trackio');
  const { logs, config } = await python<{ logs: Record<string, number>[]; config: Record<string, unknown> }>(
    `
import json
from trackio.sqlite_storage import SQLiteStorage
logs = SQLiteStorage.get_logs("our-project", "a run")
print(json.dumps({"logs": logs, "config": SQLiteStorage.get_run_config("our-project", "a run")}, default=str))`,
    { TRACKIO_DIR: trackio },
  );
  for (const { step, figures } of tracked(trainer)) {
    const there = Object.assign({}, ...logs.filter((log) => log.step === step));
    for (const [name, value] of Object.entries(figures)) expect(there[name], name).toBe(value);
    expect(there['train/global_step']).toBe(step);
  }
  expect(config).toMatchObject({ logging_steps: 2, r: 2 });
});

/** Reads an offline run's records, as Python. */
const RECORDS = `
import glob, json, struct
from wandb.proto import wandb_internal_pb2 as pb
def records(folder):
    data = open(glob.glob(${JSON.stringify(join(wandb, 'wandb'))} + "/" + folder + "/*.wandb")[0], "rb").read()
    # LevelDB's log: blocks of 32 KiB, records with a checksum, a length and a type (whole, first, middle, last); the first block begins with a header of 7 bytes.
    at, part = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part = (b"" if kind in (1, 2) else part) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = pb.Record()
            record.ParseFromString(part)
            yield record
`;

it('wandb writes an offline run, whose records its own package reads', async () => {
  const trainer = await trained('wandb');
  const [folder] = readdirSync(join(wandb, 'wandb')).filter((name) => name.startsWith('offline-run-'));
  const { history, config } = await python<{ history: Record<string, number>[]; config: Record<string, unknown> }>(
    `
${RECORDS}
history, config = [], {}
for record in records(${JSON.stringify(folder)}):
    if record.WhichOneof("record_type") == "history":
        history.append({(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item})
    for update in [*record.config.update, *record.run.config.update]:
        config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
print(json.dumps({"history": history, "config": config}))`,
    {},
  );
  for (const { step, figures } of tracked(trainer)) {
    const there = Object.assign({}, ...history.filter((log) => log['train/global_step'] === step));
    for (const [name, value] of Object.entries(figures)) expect(there[name], name).toBe(value);
  }
  expect(config).toMatchObject({ logging_steps: 2, r: 2 });
});

it("a trainer's second run is told to a process of its own, whose log the end of the first one's leaves alone; a failure is told", async () => {
  const warnings: string[] = [];
  const off = on('warning', ({ text }) => warnings.push(text));
  const known = existsSync(join(wandb, 'wandb')) ? readdirSync(join(wandb, 'wandb')) : [];
  let fails = false;
  const trainer = await make(
    [
      {
        on_step_end: async (_: unknown, { global_step }: { global_step: number }, __: unknown, { trainer: its }: { trainer: Trainer }) => {
          if (global_step === 1) await its.log({ odd: Number.NaN });
          if (fails && global_step === 3) throw new Error('no more');
        },
      },
    ],
    { ...RUN, report_to: 'wandb', run_name: 'twice' },
  );
  await trainer.train();
  fails = true;
  await expect(trainer.train()).rejects.toThrow('no more');
  off();
  expect(warnings.filter((text) => text.includes('wandb'))).toEqual([]);
  const folders = readdirSync(join(wandb, 'wandb')).filter((name) => name.startsWith('offline-run-') && !known.includes(name));
  expect(folders).toHaveLength(2);
  const ends = await python<{ steps: number[]; odd: string[]; exit: number }[]>(
    `${RECORDS}
ends = []
for folder in ${JSON.stringify(folders.sort())}:
    found = list(records(folder))
    rows = [{(item.key or "/".join(item.nested_key)): item.value_json for item in record.history.item} for record in found if record.WhichOneof("record_type") == "history"]
    codes = [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"]
    ends.append({"steps": [int(row["train/global_step"]) for row in rows if "train/loss" in row], "odd": [row["train/odd"] for row in rows if "train/odd" in row], "exit": codes[-1]})
print(json.dumps(ends))`,
    {},
  );
  expect(ends).toEqual([
    { steps: [2, 4], odd: [expect.stringContaining('NaN')], exit: 0 },
    { steps: [2], odd: [expect.stringContaining('NaN')], exit: 1 },
  ]);
});

it('a package that is not there is refused before the first step, with what to do', async () => {
  const before = process.env.TUNEBOOK_PYTHON;
  process.env.TUNEBOOK_PYTHON = '/usr/bin/python3';
  await expect(trained('trackio')).rejects.toThrow(
    /needs Python's package trackio: pip install trackio, in the Python that is called \/usr\/bin\/python3/,
  );
  process.env.TUNEBOOK_PYTHON = '/nowhere/python';
  await expect(trained('wandb')).rejects.toThrow(
    /report_to: 'wandb' needs Python, and \/nowhere\/python does not start \(spawn \/nowhere\/python ENOENT\).*TUNEBOOK_PYTHON\./,
  );
  process.env.TUNEBOOK_PYTHON = before;
});

const distinct = (pairs: unknown[][]) => [...new Set(pairs.map((pair) => pair.join()))];

it('an MLflow server has the run: settings, tags and every figure; one that goes away costs its figures alone', async () => {
  for (let tries = 0; tries < 240; tries++) {
    if (
      await fetch(`${uri}/health`).then(
        (r) => r.ok,
        () => false,
      )
    )
      break;
    await new Promise((done) => setTimeout(done, 500));
  }
  const trainer = await trained('mlflow');
  const ask = async (path: string, body?: object) =>
    (
      await fetch(
        `${uri}/api/2.0/mlflow/${path}`,
        body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
      )
    ).json() as any;
  const { experiment } = await ask('experiments/get-by-name?experiment_name=ours');
  const { runs } = await ask('runs/search', { experiment_ids: [experiment.experiment_id] });
  expect(runs).toHaveLength(1);
  const { info, data } = runs[0];
  expect(info).toMatchObject({ run_name: 'a run', status: 'FINISHED' });
  const params = Object.fromEntries(data.params.map(({ key, value }: { key: string; value: string }) => [key, value]));
  expect(params).toMatchObject({ logging_steps: '2', r: '2', lr_scheduler_type: 'linear' });
  expect(data.tags).toContainEqual({ key: 'who', value: 'we' });
  for (const name of ['loss', 'learning_rate', 'eval_loss', 'epoch']) {
    const { metrics } = await ask(`metrics/get-history?run_id=${info.run_id}&metric_key=${name}`);
    const ours = trainer.state.log_history.flatMap((entry) => (name in entry ? [[entry.step, entry[name]]] : []));
    const theirs = metrics.map(({ step, value }: { step: number; value: number }) => [Number(step), value]);
    // The server keeps the same value of the same step once, where it was logged twice in a millisecond (the epoch, with the loss and at the end).
    expect(distinct(theirs), name).toEqual(distinct(ours));
  }
  const warnings: string[] = [];
  const off = on('warning', ({ text }) => warnings.push(text));
  // What is no number is kept as such; what the server refuses costs nothing else; a run that fails is not left running.
  const odd = { not: Number.NaN, up: Number.POSITIVE_INFINITY, ['long'.repeat(100)]: 1, fine: 2 };
  const failing = await make(
    [
      {
        on_step_end: async (_: unknown, { global_step }: { global_step: number }, __: unknown, { trainer: its }: { trainer: Trainer }) => {
          if (global_step === 1) await its.log(odd);
          if (global_step === 3) throw new Error('no more');
        },
      },
    ],
    { ...RUN, report_to: 'mlflow' },
  );
  await expect(failing.train()).rejects.toThrow('no more');
  expect(warnings.filter((text) => text.includes("MLflow's server did not take figures: HTTP 400"))).toHaveLength(1);
  const { runs: both } = await ask('runs/search', { experiment_ids: [experiment.experiment_id] });
  const failed = both.find(({ info: its }: typeof info) => its.run_id !== info.run_id);
  expect(failed.info).toMatchObject({ status: 'FAILED', end_time: expect.anything() });
  const kept = Object.fromEntries(failed.data.metrics.map(({ key, value }: { key: string; value: unknown }) => [key, value]));
  expect(kept).toMatchObject({ fine: 2, not: 'NaN', up: expect.toSatisfy((value) => Number(value) > 1e308), loss: expect.any(Number) });
  warnings.length = 0;
  const leaving = await make(
    [
      {
        on_step_end: (_: unknown, { global_step }: { global_step: number }) =>
          global_step === 1 && process.kill(-(server.pid as number), 'SIGKILL'),
      },
    ],
    {
      ...{ ...RUN, report_to: ['mlflow', 'tensorboard'] },
    },
  );
  const { global_step } = await leaving.train();
  off();
  expect(global_step).toBe(4);
  expect(warnings.join()).toContain("MLflow's server did not take figures");
  expect(existsSync(join(leaving.args.output_dir, 'runs'))).toBe(true);
  // Without a server nothing is trained.
  await expect(trained('mlflow')).rejects.toThrow(/did not take the run .*MLFLOW_TRACKING_URI/);
  delete process.env.MLFLOW_TRACKING_URI;
  await expect(trained('mlflow')).rejects.toThrow(/MLFLOW_TRACKING_URI is ''\. Start one \(mlflow server --port 5000\)/);
});
