import { beforeAll, expect, it } from 'vitest';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { ACTIVATIONS } from '../../src/nn';
import { startNative, withoutLeaks } from '../engine/check_op';

beforeAll(startNative);

/** None at a kink: 0, 3 and 6. */
const POINTS = [-4.3, -2.1, -0.7, -0.2, 0.3, 1.1, 2.4, 4.5, 7.2];

for (const [name, act] of Object.entries(ACTIVATIONS))
  it(`${name}: gradients are those of differences`, () =>
    withoutLeaks(() => {
      const [gate, up] = [tf.tensor1d(POINTS), tf.tensor1d(POINTS.map((_, i) => 1 - i / 5))];
      const values = (x: tf.Tensor, y: tf.Tensor) => tf.tidy(() => Array.from(act(x, y).dataSync()));
      const recorded = record(() => tf.sum(act(gate, up)) as tf.Scalar);
      const gradients = recorded.pullback([gate, up]).map((g) => Array.from(g.dataSync()));
      const h = 1e-2;
      for (const which of [0, 1]) {
        const moved = (by: number) => tf.tidy(() => values(which ? gate : tf.add(gate, by), which ? tf.add(up, by) : up));
        const [more, less] = [moved(h), moved(-h)];
        for (const [i, g] of gradients[which].entries())
          expect(Math.abs(g - (more[i] - less[i]) / (2 * h)), `${which ? 'up' : 'gate'} at ${POINTS[i]}`).toBeLessThan(
            2e-3 * (1 + Math.abs(g)),
          );
      }
      recorded.dispose();
    }));
