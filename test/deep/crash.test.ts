import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { faultOf } from '../../src/train/checkpoint';
import { prepared, run, STEPS, survives } from '../train/torn';

let folder: string;
beforeAll(async () => {
  folder = await prepared();
});

it.each([1, 2, 3, 4, 5])('runs killed over and over (of 200 kills part %i) lose nothing', (seed) =>
  survives(folder, { kills: 40, least: 10, seed }),
);

it('two processes that train into one folder at once both come to their end, and each checkpoint is whole', async () => {
  const out = join(folder, 'both');
  const both = await Promise.all([run(folder, out, { seed: 1 }), run(folder, out, { seed: 2 })]);
  for (const { errors } of both) expect(errors).not.toMatch(/Error|could not be/);
  expect(both.some(({ errors }) => errors.includes('Another run saves into'))).toBe(true);
  const kept = readdirSync(out).filter((name) => name.startsWith('checkpoint'));
  expect(kept).toContain(`checkpoint-${STEPS}`);
  expect(kept.filter((name) => !/^checkpoint-\d+$/.test(name))).toEqual([]);
  for (const name of kept) expect(await faultOf(join(out, name), 'adapter_model.safetensors')).toBeUndefined();
});
