import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { crc32c, EventFile } from '../../src/formats/tfevents';
import { peer } from '../peer';
import { scratch } from '../tiny';

it('TensorBoard reads the scalars that are written', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283); // the check value of CRC-32C
  const folder = scratch('board');
  const file = new EventFile(folder);
  for (const step of [1, 200, 70000]) file.scalars(step, { 'train/loss': step / 7, 'eval/loss': -1e-8 * step });
  expect(join(folder, readdirSync(folder)[0])).toBe(file.path);
  const tags = peer<Record<string, [number, number][]>>('board', { folder });
  expect(Object.keys(tags).sort()).toEqual(['eval/loss', 'train/loss']);
  for (const [step, value] of tags['train/loss']) expect(value).toBe(Math.fround(step / 7));
  expect(tags['eval/loss'].map(([step]) => step)).toEqual([1, 200, 70000]);
});
