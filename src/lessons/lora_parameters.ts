import { exercise } from './exercise';

type Count = (out: number, inputs: number, r: number) => number;

/** Shapes that tell wrong formulas apart. */
const SHAPES: [out: number, inputs: number, r: number][] = [
  [1024, 1024, 16],
  [576, 1536, 8],
  [3, 5, 2],
];

/** Formulas that look right, and what is wrong with them. */
const WRONG: [count: Count, why: string][] = [
  [(out, inputs) => out * inputs, 'that is the whole update, one number for each weight. LoRA trains two thin matrices in its place.'],
  [(out, inputs, r) => out * inputs * r, 'that is r times the whole update. Multiply each side of the matrix by r, and add the two.'],
  [(out, _, r) => out * r, 'that is one of the two matrices. B is out x r, and A is r x in.'],
  [(_, inputs, r) => inputs * r, 'that is one of the two matrices. A is r x in, and B is out x r.'],
  [(out, _, r) => 2 * out * r, 'that holds for square matrices alone: the sides may differ, as in an MLP.'],
  [(_, inputs, r) => 2 * inputs * r, 'that holds for square matrices alone: the sides may differ, as in an MLP.'],
  [(out, inputs, r) => out * r * inputs * r, 'the two matrices are counted one beside the other: their numbers are added, not multiplied.'],
  [(out, inputs, r) => out * r + inputs * r + r, 'nearly: a diagonal of r numbers stands between U and V in an SVD, but LoRA has none.'],
];

/** How many numbers LoRA trains beside one matrix. */
export const loraParameters = exercise<number | Count>({
  takes: 'a number (for 1,024 x 1,024 and r = 16), or a function `(out, inputs, r) => number`',
  hint: 'LoRA writes the update of an out x in matrix as B times A. How many columns has B, how many rows has A, and how many numbers are in each?',
  solution:
    'B is out x r and A is r x in, so\n```\nconst loraParameters = (out, inputs, r) => r * (out + inputs);\n```\nFor 1,024 x 1,024 and r = 16 these are 32,768 numbers in the place of 1,048,576: one in 32.',
  because: 'r (out + in): it grows with the sides of the matrix, where the whole update grows with their product.',
  lacks(answer) {
    if (typeof answer !== 'number' && typeof answer !== 'function')
      return `an answer is a number or a function, but this is ${typeof answer}.`;
    const shapes = typeof answer === 'number' ? SHAPES.slice(0, 1) : SHAPES;
    const said = shapes.map(([out, inputs, r]) => (typeof answer === 'number' ? answer : answer(out, inputs, r)));
    const wrong = shapes.findIndex(([out, inputs, r], i) => said[i] !== r * (out + inputs));
    if (wrong < 0) return undefined;
    const known = WRONG.find(([count]) => shapes.every((shape, i) => count(...shape) === said[i]));
    const [out, inputs, r] = shapes[wrong];
    return known?.[1] ?? `for ${out} x ${inputs} and r = ${r} it says ${said[wrong]}. Count the numbers of B and of A, and add them.`;
  },
});
