import { expect, it } from 'vitest';
import { wellFormedJson } from '../../kernel/src/protocol';
import { Text } from '../../kernel/src/text';
import { Random } from '../../src/core/random';

const random = Random.seeded(12);
/** Characters of one to four bytes, and bytes that are none or only some of one. */
const PARTS = ['a', '\n', 'é', '≤', '漢', '🙂', '\ufeff', '\0'].map((c) => [...Buffer.from(c)]);
const BROKEN = [[0xe2], [0xe2, 0x89], [0xf0, 0x9f, 0x99], [0x80], [0xff], [0xc0, 0x80], [0xed, 0xa0, 0xbd], [0xe0, 0x80], [0xf5, 0x80]];

it('bytes that come in pieces give the text that they give at once, wherever they are cut', () => {
  for (let round = 0; round < 5000; round++) {
    const parts = Array.from({ length: random.below(12) }, () => {
      const from = random.below(4) ? PARTS : BROKEN;
      return from[random.below(from.length)];
    });
    const bytes = Buffer.from(parts.flat());
    let said = '';
    const text = new Text((more) => {
      said += more;
    });
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random.below(4);
      text.push(bytes.subarray(at, end));
      at = end;
    }
    text.end();
    expect(said).toBe(bytes.toString());
  }
});

it('what is no character is said by the cell that began it, and text never joins it', () => {
  const said: [number | undefined, string][] = [];
  const text = new Text((more, cell) => said.push([cell, more]));
  text.push(Buffer.from([0x61, 0xe2, 0x89]), 1);
  expect(text.waiting).toBeDefined();
  text.push(Buffer.from([0xa4]), 2);
  expect(text.waiting).toBeUndefined();
  text.push(Buffer.from([0xf0]), 3);
  text.write('\ud83d', 4);
  text.write('\ude42', 4);
  text.write('', 5);
  text.end();
  expect(said).toEqual([
    [1, 'a'],
    [2, '≤'],
    [3, '\ufffd'],
    [4, '\ufffd'],
    [4, '\ufffd'],
  ]);
});

it('JSON of messages holds no half characters and is otherwise what was given', () => {
  const units = ['\ud83d', '\ude42', '🙂', '\\', 'ud83d', '\\ud83d', '\\u', '"', '\n', '\u2028', 'a'];
  const draw = () => Array.from({ length: random.below(8) }, () => units[random.below(units.length)]).join('');
  for (let round = 0; round < 5000; round++) {
    const [key, value, inner] = [draw(), draw(), draw()];
    const json = wellFormedJson({ [`k${key}`]: [value, { inner }], n: 1.5 });
    expect(json.isWellFormed()).toBe(true);
    expect(JSON.parse(json)).toEqual({ [`k${key.toWellFormed()}`]: [value.toWellFormed(), { inner: inner.toWellFormed() }], n: 1.5 });
  }
});
