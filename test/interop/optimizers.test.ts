import { beforeAll, expect, it } from 'vitest';
import { OPTIMIZERS } from '../../src/train/optimizers';
import { startNative } from '../engine/check_op';
import { peer } from '../peer';
import { args, drawn, SHAPES, STEPS, stepped, tensors, WITH_ARGS } from '../train/steps';

/** Of names that mean the same one. */
const NAMES = [
  ...new Set(
    Object.entries(OPTIMIZERS).map(
      ([name, { names }]) => Object.keys(names).find((n) => names[n].eightBit === names[name].eightBit) as string,
    ),
  ),
  ...WITH_ARGS,
];

beforeAll(startNative);

it('every optimizer steps as the one that transformers makes of its name', async () => {
  const names = Object.keys(SHAPES) as (keyof typeof SHAPES)[];
  const all = (step: number) => Object.fromEntries(names.map((name) => [name, Array.from(drawn(name, step))]));
  const theirs = peer<Record<string, Record<string, number[]>>>('optimizers', {
    names: NAMES,
    shapes: SHAPES,
    start: all(0),
    gradients: Array.from({ length: STEPS }, (_, i) => all(i + 1)),
    lr: args.learning_rate,
    weight_decay: args.weight_decay,
  });
  const start = tensors(0);
  for (const optim of NAMES) {
    const { values } = await stepped(optim, 1, STEPS, start);
    for (const name of names) {
      const [ours, expected, before] = [values.get(name) as Float32Array, theirs[optim][name], drawn(name, 0)];
      const size = Math.sqrt(expected.reduce((sum, value, i) => sum + (value - before[i]) ** 2, 0));
      const off = Math.sqrt(expected.reduce((sum, value, i) => sum + (value - ours[i]) ** 2, 0));
      // What is remembered in 8 bits is rounded, here and in bitsandbytes, whose CPU steps are not the same to the last code. Lion's steps
      // are signs: where a momentum is close to 0, rounding decides.
      const [bare] = optim.split('?');
      const isEightBit = OPTIMIZERS[bare].names[bare].eightBit;
      expect(off / size, `${optim}: ${name}`).toBeLessThan(isEightBit ? (bare.startsWith('lion') ? 0.2 : 0.03) : 3e-5);
    }
  }
  for (const tensor of start.values()) tensor.dispose();
});
