import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { expectedOf, load } from '../serve/load';
import { serveTiny, tiny } from '../serve/served';

it('1,000 requests, 64 at a time: every one answered as if it were alone, or refused; memory stays', async () => {
  const made = await tiny();
  const expected = await expectedOf(made.model, made.adapters);
  const server = await serveTiny(made);
  await load(server, expected, made.adapters.three, 200, 64);
  const { statuses, wrong, memory } = await load(server, expected, made.adapters.three, 1000, 64);
  await server.close();
  console.log(
    statuses,
    memory.map((bytes) => Math.round(bytes / 2 ** 20)),
  );
  expect(wrong).toEqual([]);
  expect(Object.keys(statuses).filter((status) => /^5/.test(status))).toEqual([]);
  expect(memory[1] - memory[0]).toBeLessThan(64 * 2 ** 20);
});

it('10,000 requests that schemathesis makes of our OpenAPI document', () => {
  const vitest = resolve(__dirname, '../../node_modules/vitest/vitest.mjs');
  const env = { ...process.env, TUNEBOOK_MALFORMED: '1200' };
  const { status, stdout } = spawnSync(process.execPath, [vitest, 'run', 'test/interop/serve.test.ts', '-t', 'schemathesis'], {
    env,
    encoding: 'utf8',
  });
  expect(status, stdout.slice(-6000)).toBe(0);
});
