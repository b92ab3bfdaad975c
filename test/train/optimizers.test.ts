import { beforeAll, expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { OPTIMIZERS, optimArgs } from '../../src/train/optimizers';
import { startNative } from '../engine/check_op';
import { STEPS, stepped, tensors, WITH_ARGS } from './steps';

beforeAll(startNative);

it.each([...Object.keys(OPTIMIZERS), ...WITH_ARGS])(
  '%s goes on from what it remembered, bit for bit, and leaves nothing behind',
  async (optim) => {
    const start = tensors(0);
    const before = tf.memory().numTensors;
    const whole = await stepped(optim, 1, STEPS, start);
    const half = await stepped(optim, 1, 5, start);
    const middle = new Map([...half.values].map(([name, data]) => [name, tf.tensor(data, start.get(name)?.shape)]));
    const rest = await stepped(optim, 6, STEPS, middle, half.remembered);
    tf.dispose([...middle.values()]);
    expect(rest).toEqual(whole);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([...start.values()]);
  },
);

it('options of their own are read as transformers writes them, and refused where an optimizer has none', () => {
  expect(optimArgs(OPTIMIZERS.sgd, 'momentum=0.9, nesterov=True')).toEqual({ momentum: 0.9, dampening: 0, nesterov: true });
  expect(optimArgs(OPTIMIZERS.sgd, { momentum: 0.5 })).toEqual({ momentum: 0.5, dampening: 0, nesterov: false });
  for (const [given, words] of [
    ['momentun=0.9', /Did you mean momentum/],
    ['momentum=much', /momentum must be a number, but is 'much'/],
    ['nesterov=1.5', /nesterov must be a boolean/],
    [3, /must be a text like 'momentum=0.9' or an object/],
  ] as const)
    expect(() => optimArgs(OPTIMIZERS.sgd, given)).toThrow(words);
  expect(() => optimArgs(OPTIMIZERS.adamw_torch, 'momentum=0.9')).toThrow(/this optimizer has no options of its own/);
});
