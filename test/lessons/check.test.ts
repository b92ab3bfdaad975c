// Exercises take every right answer and tell typical wrong ones apart: a row for each.
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { DISPLAY } from '../../src/core/shown';
import { check, tf } from '../../src/index';
import type { Exercise } from '../../src/lessons/exercise';

type Name = keyof typeof check;
type Three = (a: number, b: number, c: number) => number;
type Merge = (w: tf.Tensor2D, a: tf.Tensor2D, b: tf.Tensor2D, s: number) => unknown;
type Choose = (s: number[], share: number) => unknown;
const three = (f: Three) => f;
const merge = (f: Merge) => f;
const choose = (f: Choose) => f;

const RIGHT: [Name, unknown][] = [
  ['loraParameters', 32768],
  ['loraParameters', 1024 * 16 * 2],
  ['loraParameters', three((o, i, r) => r * (o + i))],
  ['loraParameters', three((o, i, r) => o * r + r * i)],
  ['mergedWeight', merge((w, a, b, s) => w.add(b.matMul(a).mul(s)))],
  ['mergedWeight', merge((w, a, b, s) => tf.add(tf.matMul(tf.mul(b, s), a), w))],
  ['mergedWeight', merge((w, a, b, s) => w.add(a.transpose().matMul(b.transpose()).transpose().mul(s)))],
  ['mergedWeight', merge((w, a, b, s) => tf.tidy(() => tf.addN([w, tf.einsum('or,ri->oi', b, a).mul(s)])))],
  [
    'rankForEnergy',
    choose((s, share) => {
      let rest = s.reduce((sum, x) => sum + x ** 2, 0) * (1 - share);
      let k = s.length;
      while (k > 1 && s[k - 1] ** 2 <= rest + 1e-12) rest -= s[--k] ** 2;
      return k;
    }),
  ],
  [
    'rankForEnergy',
    choose((s, share) => {
      const all = s.reduce((sum, x) => sum + x * x, 0);
      let k = 0;
      for (let sum = 0; sum < share * all; k++) sum += s[k] ** 2;
      return k;
    }),
  ],
];

const WRONG: [Name, unknown, RegExp][] = [
  ['loraParameters', undefined, /no answer yet/],
  ['loraParameters', null, /no answer yet/],
  ['loraParameters', '32768', /number or a function, but this is string/],
  ['loraParameters', 1024 * 1024, /the whole update/],
  ['loraParameters', 16384, /one of the two/],
  ['loraParameters', 7, /it says 7/],
  ['loraParameters', Number.NaN, /it says NaN/],
  ['loraParameters', three((o, i) => o * i), /the whole update/],
  ['loraParameters', three((o, _, r) => 2 * o * r), /square matrices alone/],
  ['loraParameters', three((o, i, r) => r * o * i), /r times the whole/],
  ['loraParameters', three((o, i, r) => o * r * i * r), /added, not multiplied/],
  ['loraParameters', three((o, i, r) => r * (o + i) + r), /LoRA has none/],
  [
    'loraParameters',
    () => {
      throw new Error('mine');
    },
    /ended with an error: mine/,
  ],
  ['mergedWeight', undefined, /no answer yet/],
  ['mergedWeight', 3, /a function, but this is number/],
  ['mergedWeight', merge((w, a, b) => w.add(a.matMul(b))), /product does not fit/],
  ['mergedWeight', merge((w, a, b) => w.add(b.matMul(a))), /not scaled/],
  ['mergedWeight', merge((_, a, b, s) => b.matMul(a).mul(s)), /frozen weight W is missing/],
  ['mergedWeight', merge((w) => w), /update is missing/],
  ['mergedWeight', merge((w, a, b, s) => w.sub(b.matMul(a).mul(s))), /added, not taken away/],
  ['mergedWeight', merge((w, a, b, s) => w.add(b.matMul(a)).mul(s)), /scale belongs to the update/],
  ['mergedWeight', merge((_, a) => a), /2 x 4 other values/],
  ['mergedWeight', merge(() => 5), /must return a tensor/],
  ['rankForEnergy', undefined, /no answer yet/],
  ['rankForEnergy', 4, /a function, but this is number/],
  [
    'rankForEnergy',
    choose((s, share) => {
      const all = s.reduce((sum, x) => sum + x, 0);
      let k = 0;
      for (let sum = 0; sum < share * all - 1e-9; k++) sum += s[k];
      return k;
    }),
    /sum of their squares/,
  ],
  ['rankForEnergy', choose((s, share) => Math.ceil(share * s.length)), /a share of the directions/],
  ['rankForEnergy', choose((s) => s.length), /are enough and needed/],
];

describe.each(Object.keys(check) as Name[])('%s', (name) => {
  const ask = check[name] as Exercise<unknown>;

  it('takes right answers, however they are written', () => {
    const rows = RIGHT.filter(([its]) => its === name);
    expect(rows.length).toBeGreaterThan(1);
    for (const [, answer] of rows) expect(inspect(ask(answer)), String(answer)).toMatch(/^Right: /);
  });

  it('tells wrong answers apart', () => {
    const rows = WRONG.filter(([its]) => its === name);
    expect(rows.length).toBeGreaterThan(2);
    for (const [, answer, text] of rows) {
      const note = ask(answer);
      expect(note.right, String(answer)).toBe(false);
      expect(note.text, String(answer)).toMatch(text);
    }
  });

  it('has a hint that does not give the answer away, and a solution that is right', () => {
    const code = ask.solution().text.match(/```\n([\s\S]*?)\n```/)?.[1] as string;
    const [, made] = code.match(/(?:const|function) (\w+)/) as RegExpMatchArray;
    const solved = new Function('tf', `${code}\nreturn ${made};`)(tf);
    expect(inspect(ask(solved))).toMatch(/^Right: /);
    expect(ask.hint().text).not.toContain(code);
    expect(ask.hint()[DISPLAY]()['text/html']).toContain('<b>Hint.</b>');
  });

  it('leaves no tensor behind', () => {
    const before = tf.memory().numTensors;
    for (const [, answer] of [...RIGHT, ...WRONG].filter(([its]) => its === name)) tf.tidy(() => void ask(answer));
    expect(tf.memory().numTensors).toBe(before);
  });
});
