import { beforeAll, expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { OPTIMIZERS } from '../../src/train/optimizers';
import { startNative } from '../engine/check_op';
import { STEPS, stepped, tensors } from './steps';

beforeAll(startNative);

it.each(Object.keys(OPTIMIZERS))('%s goes on from what it remembered, bit for bit, and leaves nothing behind', async (optim) => {
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
});
