import { expect, it } from 'vitest';
import { runPython } from './python';

it.each([
  ['conformance.py', "the Jupyter project's tests of kernels pass"],
  ['behaviour.py', 'cells, types, modules, output, interrupts, comms, deaths: what the kernel promises'],
  ['output.py', 'what is shown is what was written: characters, streams, errors, values'],
])('%s: %s', async (file) => {
  expect(await runPython(file)).toMatch(/Ran \d+ tests/);
});
