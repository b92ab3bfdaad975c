import { expect, it } from 'vitest';
import { CELLS_COMM, Journal } from '../../kernel/src/journal';
import type { Header, Message } from '../../kernel/src/protocol';
import type { Sockets } from '../../kernel/src/sockets';

const header = (msg_id: string, session: string, msg_type = 'execute_request'): Header => ({
  ...{ msg_id, session, msg_type, username: '', date: '', version: '5.5' },
});
const message = (head: Header, content: object, metadata: Record<string, unknown> = {}): Message => ({
  ...{ identities: [], header: head, parent: {}, metadata, content, buffers: [] },
});

/** A journal, and what pages are told by it. */
function started() {
  const told: any[] = [];
  const journal: Journal = new Journal({
    publish: (_: string, content: any) => {
      told.push(content.data.cells ?? content.data);
      return Promise.resolve();
    },
  } as unknown as Sockets);
  const run = (cellId: string, request: string, session = 'a') => {
    const head = header(request, session);
    journal.asked(message(head, { code: '' }, { cellId }));
    return (type: string, content: Record<string, unknown>) => journal.take(type, content, head);
  };
  let comms = 0;
  const open = (session: string, here: string[] = []) => {
    const comm_id = `c${comms++}`;
    journal.comm(message(header('o', session, 'comm_open'), { comm_id, target_name: CELLS_COMM, data: { here } }));
    const saved = (counts: object) => journal.comm(message(header('m', session, 'comm_msg'), { comm_id, data: { saved: counts } }));
    return { cells: told.at(-1), saved };
  };
  return { journal, run, open, told };
}
const display = (id: string, text: string) => ({ data: { 'text/plain': text }, metadata: {}, transient: { display_id: id } });

it('a page is told of what other pages had run: texts joined, displays as they were last, what was cleared is gone', () => {
  const { run, open } = started();
  const first = run('one', 'r1');
  first('execute_input', { execution_count: 1 });
  first('stream', { name: 'stdout', text: 'gone' });
  first('clear_output', { wait: true });
  for (const text of ['a', 'b']) first('stream', { name: 'stdout', text });
  first('stream', { name: 'stderr', text: 'c' });
  first('display_data', display('d', 'old'));
  const second = run('two', 'r2');
  second('update_display_data', display('d', 'new'));
  const output = (output_type: string, fields: object) => ({ output_type, ...fields });
  expect(open('b').cells).toEqual([
    {
      ...{ id: 'one', request: 'r1', session: 'a', state: 'running', count: 1, told: 7 + 1 },
      outputs: [
        output('stream', { name: 'stdout', text: 'ab' }),
        output('stream', { name: 'stderr', text: 'c' }),
        output('display_data', display('d', 'new')),
      ],
    },
    { ...{ id: 'two', request: 'r2', session: 'a', state: 'waiting', count: null, told: 1 }, outputs: [] },
  ]);
  expect(open('a').cells, 'its own cells it has').toEqual([]);
  expect(open('b', ['a']).cells, 'and those of a page that is still there').toEqual([]);
});

it('what a saved file holds is told no more, until something is added', () => {
  const { run, open } = started();
  const put = run('one', 'r1');
  put('stream', { name: 'stdout', text: 'a' });
  put('status', { execution_state: 'idle' });
  const { saved } = open('b');
  saved({ r1: 1, other: 3 });
  expect(open('c').cells, 'the page had seen less').toHaveLength(1);
  saved({ r1: 2 });
  expect(open('c').cells).toEqual([]);
  put('stream', { name: 'stdout', text: 'b' });
  expect(open('c').cells[0].outputs[0].text).toBe('ab');
  run('one', 'r2');
  expect(open('c').cells, 'it runs anew').toMatchObject([{ request: 'r2', outputs: [] }]);
});

it('its memory is bounded: saved cells are forgotten first, cells that run never', () => {
  const { run, open } = started();
  const text = 'x'.repeat(4 << 20);
  const endless = run('endless', 'r');
  for (let i = 0; i < 3; i++) endless('stream', { name: 'stdout', text });
  expect(open('b').cells[0].outputs[0].text).toHaveLength(2 << 20);
  const { saved } = open('b');
  for (let i = 0; i < 20; i++) {
    const put = run(`cell ${i}`, `r${i}`);
    put('display_data', { data: { 'text/plain': text }, metadata: {} });
    put('status', { execution_state: 'idle' });
    if (i === 5) saved({ r5: 2 });
  }
  const ids = open('b').cells.map(({ id }: { id: string }) => id);
  expect(ids).toEqual(['endless', ...[13, 14, 15, 16, 17, 18, 19].map((i) => `cell ${i}`)]);
});

it('requests without a cell, silent ones and other comms are none of its business', () => {
  const { journal, open } = started();
  journal.asked(message(header('r', 'a'), { code: '' }));
  journal.asked(message(header('r', 'a'), { code: '', silent: true }, { cellId: 'x' }));
  expect(open('b').cells).toEqual([]);
  expect(journal.comm(message(header('o', 'b', 'comm_open'), { comm_id: 'z', target_name: 'tunebook.run', data: {} }))).toBe(false);
});

it('a question that waits is asked on the page that has the cell now, and so is the next one', () => {
  const { journal, run, open, told } = started();
  const put = run('one', 'r1');
  const question = { id: 'q1', prompt: 'who? ', password: false };
  journal.asks(header('r1', 'a'), question);
  expect(told, 'the page that sent the cell is asked by a message').toEqual([]);
  expect(open('b').cells).toMatchObject([{ id: 'one', question }]);
  const answer = (parent: object) => journal.answered({ ...message(header('i', 'b'), {}), parent: parent as Header });
  answer({ msg_id: 'another' });
  expect(open('c').cells).toMatchObject([{ question }]);
  answer({ msg_id: 'q1' });
  expect(told.slice(-2), 'the other page takes its field away').toEqual(Array(2).fill({ asked: { request: 'r1', question: null } }));
  expect(open('c').cells[0].question).toBeUndefined();
  const next = { id: 'q2', prompt: 'and why? ', password: true };
  const before = told.length;
  journal.asks(header('r1', 'a'), next);
  expect(told.slice(before)).toEqual(Array(3).fill({ asked: { request: 'r1', question: next } }));
  answer({});
  expect(told.slice(-3)).toEqual(Array(3).fill({ asked: { request: 'r1', question: null } }));
  answer({});
  expect(told, 'once').toHaveLength(before + 6);
  expect(open('d').cells[0].question, 'a front end need not say what it answers').toBeUndefined();
  journal.asks(header('r1', 'a'), next);
  put('status', { execution_state: 'idle' });
  expect(open('e').cells[0].question, 'a cell that is over asks nothing').toBeUndefined();
});
