import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Throttle } from '../../src/notebook/throttle';

it('calls at once, then seldom, and never loses the last call', async () => {
  let value = 0;
  const seen: number[] = [];
  const throttle = new Throttle(50, () => seen.push(value));
  for (value = 1; value <= 5; value++) throttle.call();
  expect(seen).toEqual([1]);
  value = 6;
  await wait(200);
  expect(seen).toEqual([1, 6]);
  throttle.flush();
  expect(seen).toEqual([1, 6, 6]);
});

it('what takes long is called so much more seldom', async () => {
  let calls = 0;
  const throttle = new Throttle(1, () => {
    calls++;
    const until = performance.now() + 10;
    while (performance.now() < until);
  });
  const end = performance.now() + 500;
  while (performance.now() < end) {
    throttle.call();
    await wait(5);
  }
  expect(calls, '10 ms of work may come once in 2 s').toBe(1);
  throttle.flush();
});
