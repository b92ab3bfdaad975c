import { exercise } from './exercise';

type Choose = (singular: number[], share: number) => number;

/** The smallest count of first values whose `weigh`ts are at least a share of all. */
const by =
  (weigh: (s: number) => number, atLeast = true): Choose =>
  (singular, share) => {
    const all = singular.reduce((sum, s) => sum + weigh(s), 0);
    let sum = 0;
    for (const [i, s] of singular.entries()) {
      sum += weigh(s);
      if (atLeast ? sum >= share * all - 1e-9 : sum > share * all) return i + 1;
    }
    return singular.length;
  };
const right = by((s) => s * s);

const CASES: [singular: number[], share: number][] = [
  [[4, 2, 1, 0.5], 0.9],
  [[10, 9, 8, 1, 1, 1], 0.95],
  [[3, 2.9, 2.8, 2.7, 2.6], 0.5],
  [[5, 0.1], 0.99],
  [[10, 0.5, 0.4], 0.9],
];

const WRONG: [choose: Choose, why: string][] = [
  [by((s) => s), 'that adds the singular values themselves; energy is the sum of their squares (the squared size of the matrix).'],
  [(singular, share) => right(singular, share) - 1, 'that counts from 0: an index is one less than how many directions there are.'],
  [
    (singular, share) => Math.ceil(share * singular.length),
    'that is a share of the directions; asked for is how many hold a share of the energy. The first hold more.',
  ],
  [
    (singular, share) => singular.filter((s) => s >= (1 - share) * singular[0]).length,
    'that compares each with the largest; add their squares up from the first on.',
  ],
];

/** How many directions of an SVD hold a share of the energy. */
export const rankForEnergy = exercise<Choose>({
  takes: 'a function `(singular, share) => number`: falling singular values and a share like 0.9',
  hint: 'The energy of a matrix is the sum of the squares of its singular values. Add squares from the largest on until you have the share.',
  solution:
    '```\nfunction rankForEnergy(singular, share) {\n  const all = singular.reduce((sum, s) => sum + s * s, 0);\n  let sum = 0;\n  return singular.findIndex((s) => (sum += s * s) >= share * all) + 1;\n}\n```',
  because: 'so many directions are enough: a LoRA of this rank could hold that share of the update.',
  lacks(answer) {
    if (typeof answer !== 'function') return `an answer is a function, but this is ${typeof answer}.`;
    const said = CASES.map(([singular, share]) => answer([...singular], share));
    const wrong = CASES.findIndex((its, i) => said[i] !== right(...its));
    if (wrong < 0) return undefined;
    const known = WRONG.find(([choose]) => CASES.every((its, i) => choose(...its) === said[i]));
    const [singular, share] = CASES[wrong];
    return (
      known?.[1] ??
      `of singular values ${singular.join(', ')} it takes ${said[wrong]} for ${share * 100} % of the energy, but ${right(singular, share)} are enough and needed.`
    );
  },
});
