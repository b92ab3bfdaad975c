import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LiveRuns } from '../../src/notebook/live';
import { Handle } from '../../src/train/handle';
import { newRun } from '../../src/train/run';
import { type Ask, type Live, parseRun, RUN_COMM, type RunData, withDelta } from '../../views/src';

type Take = (comm: object, data: object) => void;
const targets = new Map<string, Take>();
const COMMS = Symbol.for('tunebook.comms');
beforeAll(() => Object.assign(globalThis, { [COMMS]: { register: (target: string, take: Take) => targets.set(target, take) } }));
afterAll(() => Reflect.deleteProperty(globalThis, COMMS));

/** A view as the front end has one: it opens a comm and keeps what it is told. */
function open(run: string) {
  const told: { at: number; message: Live }[] = [];
  const closed: { text?: string }[] = [];
  const comm = {
    onMessage: (_: Ask) => {},
    onClose: () => {},
    send: (message: Live) => told.push({ at: performance.now(), message: JSON.parse(JSON.stringify(message)) }),
    close: (data: { text?: string }) => closed.push(data),
  };
  targets.get(RUN_COMM)!(comm, { run });
  return { comm, told, closed, of: (type: string) => told.filter(({ message }) => message.type === type) };
}

it('a view gets a snapshot, then at most four deltas a second, and is where the run is at its end', async () => {
  const [runs, run, handle] = [new LiveRuns(), newRun('r', 'out', 1000, {}), new Handle()];
  runs.update(run, handle, 'begin');
  const view = open(run.id);
  expect(view.told.map(({ message }) => message.type)).toEqual(['snapshot']);
  const end = performance.now() + 1200;
  while (performance.now() < end) {
    run.step++;
    run.series.loss.push([run.step, 1 / run.step]);
    runs.update(run, handle, 'step');
    await wait(2);
  }
  run.status = 'finished';
  run.events.push({ step: run.step, kind: 'checkpoint', text: 'saved' });
  runs.update(run, handle, 'end');
  const deltas = view.of('delta');
  expect(deltas.length).toBeGreaterThan(2);
  expect(deltas.length, 'one at once, four in each second, one at the end').toBeLessThanOrEqual(7);
  let shown = parseRun((view.told[0].message as { run: unknown }).run) as RunData;
  for (const { message } of deltas) shown = withDelta(shown, (message as { delta: unknown }).delta) as RunData;
  expect(shown.series.loss.map(([step]) => step)).toEqual(Array.from({ length: run.step }, (_, i) => i + 1));
  expect([shown.status, shown.events.length]).toEqual(['finished', 1]);
});

it('what is asked is heard at once and answered when it is done; a ping is a sign of life', async () => {
  const [runs, run, handle] = [new LiveRuns(), newRun('r', 'out', 10, {}), new Handle()];
  runs.update(run, handle, 'begin');
  const view = open(run.id);
  handle.begin();
  view.comm.onMessage({ action: 'pause' });
  expect(view.of('heard').map(({ message }) => message)).toEqual([
    { type: 'heard', action: 'pause', text: 'Waiting for the step to end.' },
  ]);
  await handle.attend(async (action) => `did ${action}`);
  await wait(0);
  expect(view.of('answer').map(({ message }) => message)).toEqual([{ type: 'answer', action: 'pause', ok: true, text: 'did pause' }]);
  handle.end('finished');
  view.comm.onMessage({ action: 'sample' });
  await wait(0);
  expect(view.of('answer').at(-1)!.message).toMatchObject({ ok: false, text: expect.stringMatching(/Training is over/) });
  view.comm.onMessage({ action: 'ping' });
  expect(view.told.at(-1)!.message).toEqual({ type: 'alive' });
});

it('a run of another kernel is refused with why; views that went away make room', () => {
  const [runs, run, handle] = [new LiveRuns(), newRun('r', 'out', 10, {}), new Handle()];
  runs.update(run, handle, 'begin');
  expect(open('other').closed).toEqual([{ text: 'The kernel does not know this run: it was restarted since.' }]);
  const views = Array.from({ length: 20 }, () => open(run.id));
  run.step = 1;
  runs.update(run, handle, 'end');
  expect(views.map((view) => view.of('delta').length)).toEqual([...Array(4).fill(0), ...Array(16).fill(1)]);
});
