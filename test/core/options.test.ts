import { expect, it, vi } from 'vitest';
import { nearest } from '../../src/core/errors';
import { readOptions, show } from '../../src/core/options';
import { Random } from '../../src/core/random';

it('an unknown option offers the nearest name', () => {
  expect(() => readOptions('LoraConfig', { loraAlpha: 3 }, { r: 1, lora_alpha: 1 })).toThrow(
    /no option loraAlpha \(value 3\).*Did you mean lora_alpha\?/,
  );
  expect(() => readOptions('X', { zzzzzz: 1 }, { r: 1 })).toThrow(/Its options are r\./);
});

it('an old name is taken with one warning', () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const read = () => readOptions('SFTConfig', { max_seq_length: 7 }, { max_length: 1 }, { max_seq_length: { to: 'max_length' } });
  expect([read(), read()]).toEqual([{ max_length: 7 }, { max_length: 7 }]);
  expect(warn).toHaveBeenCalledTimes(1);
  expect(warn.mock.calls[0][0]).toMatch(/max_seq_length is now called max_length/);
  warn.mockRestore();
});

it('an option that nothing became of is passed over with a warning that says why', () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  expect(readOptions('SFTConfig', { no_cuda: true }, { r: 1 }, { no_cuda: { to: null, why: 'there is none' } })).toEqual({ r: 1 });
  expect(warn.mock.calls[0][0]).toMatch(/no_cuda has no effect: there is none/);
  warn.mockRestore();
});

it('prototype names are no options', () => expect(() => readOptions('X', { constructor: 1 }, { r: 1 })).toThrow(/no option constructor/));

it('nearest prefers equal spelling apart from case and underscores', () => {
  expect(nearest('targetModules', ['target_module', 'target_modules'])).toBe('target_modules');
  expect(nearest('qqqqqqqq', ['lora_alpha'])).toBeUndefined();
});

it('random numbers are seeded, uniform and normal', () => {
  const draws = (seed: number) => Array.from({ length: 5 }, () => Random.seeded(seed).bits());
  expect(draws(3)).toEqual(draws(3));
  expect(Random.seeded(3, 1).bits()).not.toBe(Random.seeded(3, 2).bits());
  const random = Random.seeded(9);
  const normal = Array.from({ length: 20000 }, () => random.normal());
  const mean = normal.reduce((a, b) => a + b) / normal.length;
  expect(Math.abs(mean)).toBeLessThan(0.03);
  expect(Math.abs(normal.reduce((a, b) => a + (b - mean) ** 2, 0) / normal.length - 1)).toBeLessThan(0.05);
  expect(random.shuffled([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
});

it('a long value is shown short, and cut between characters', () => {
  for (const text of ['🙂'.repeat(99), `a${'🙂'.repeat(99)}`]) expect(JSON.stringify(show(text))).toMatch(/^"'a?(🙂)+\.\.\."$/u);
});
