import { expect, it } from 'vitest';
import { Language } from '../../src/generate/grammar/expression';
import { jsonSchema } from '../../src/generate/grammar/json_schema';
import { Vocabulary } from '../../src/generate/grammar/vocabulary';
import { tinyTokenizer } from '../tiny';

it('what is remembered of states is bounded by its bytes, and found again where it was forgotten', () => {
  const room = 1 << 18;
  const vocabulary = Vocabulary.of(tinyTokenizer(), room);
  const l = new Language();
  const start = l.state([jsonSchema(l, { type: 'string', minLength: 200 })]);
  const first = vocabulary.in(start.after(34) as typeof start);
  let state: typeof start | undefined = start.after(34);
  for (let i = 0; i < 100; i++) {
    state = state?.after(97);
    vocabulary.in(state as typeof start);
    expect(vocabulary.bytesKept).toBeLessThanOrEqual(room);
  }
  expect(vocabulary.bytesKept).toBeGreaterThan(room / 2);
  const again = vocabulary.in(start.after(34) as typeof start);
  expect(again).toEqual(first);
  expect(again).not.toBe(first);
});
