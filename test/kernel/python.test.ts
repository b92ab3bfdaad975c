import { expect, it } from 'vitest';
import { runPython } from './python';

it.each([
  ['conformance.py', "the Jupyter project's tests of kernels pass"],
  ['behaviour.py', 'cells, types, modules, output, interrupts, comms, deaths: what the kernel promises'],
  ['ends.py', 'whatever a cell shows, throws, asks or waits for, it ends, and the next one runs'],
  ['interrupts.py', 'interrupts at random moments of cells of forty kinds'],
  ['output.py', 'what is shown is what was written: characters, streams, errors, values'],
])('%s: %s', async (file) => {
  expect(await runPython(file)).toMatch(/Ran \d+ tests?/);
});
