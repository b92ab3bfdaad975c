import { expect, it } from 'vitest';
import { tinyTokenizer } from '../tiny';

it('only texts are encoded', () => {
  const tokenizer = tinyTokenizer();
  expect(tokenizer.encode('')).toEqual([]);
  for (const wrong of [5, null, undefined, ['two', 'texts']])
    expect(() => tokenizer.encode(wrong as never)).toThrow(/encode takes a text, but got/);
});
