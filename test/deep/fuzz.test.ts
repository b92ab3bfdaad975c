import { describe, it, vi } from 'vitest';
import { survives } from '../formats/fuzz';
import { TARGETS } from '../formats/targets';

vi.spyOn(console, 'warn').mockImplementation(() => {});

const ROUNDS = Number(process.env.TUNEBOOK_FUZZ_ROUNDS ?? 200_000);

describe('damaged files, many of them', () => {
  for (const [name, make] of Object.entries(TARGETS))
    it(`${name}: ${ROUNDS} times`, async () => {
      await survives(await make(), ROUNDS, 7);
    });
});
