import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { SFTConfig } from '../../src/index';
import { noisy } from '../../src/models/noise';
import { make } from './small_runs';

it('noise is uniform, of the size that transformers gives it in rows padded to the longest, and drawn anew by its seed', () => {
  tf.tidy(() => {
    const x = tf.zeros([1, 40, 64]) as tf.Tensor3D;
    const drawn = (seed: number) => noisy(x, { alpha: 5, seed }, { lengths: [10, 25, 5], prefixed: true }).dataSync() as Float32Array;
    const [first, again, other] = [drawn(1), drawn(1), drawn(2)];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    const most = 5 / Math.sqrt(35 * 64);
    expect(Math.max(...first)).toBeLessThanOrEqual(most + 1e-6);
    expect(Math.max(...first)).toBeGreaterThan(0.98 * most);
    expect(Math.min(...first)).toBeLessThan(-0.98 * most);
    const deviation = Math.sqrt(first.reduce((sum, v) => sum + v * v, 0) / first.length);
    expect(deviation / (most / Math.sqrt(3))).toBeCloseTo(1, 1);
  });
});

it('neftune_noise_alpha adds it while training alone, with recomputation alike, and goes on to the bit', async () => {
  const train = async (more: object, resume?: string) => {
    const trainer = await make([], { neftune_noise_alpha: 5, save_strategy: 'steps', save_steps: 3, ...more });
    await trainer.train({ resume_from_checkpoint: resume ?? null });
    const { eval_loss } = await trainer.evaluate();
    return { losses: trainer.run!.series.loss.map(([, loss]) => loss), eval_loss, out: trainer.args.output_dir };
  };
  const [whole, plain] = [await train({}), await train({ neftune_noise_alpha: null })];
  const recomputed = await train({ gradient_checkpointing: true });
  expect(Math.abs(whole.losses[0] - plain.losses[0])).toBeGreaterThan(1e-4);
  for (const [i, loss] of recomputed.losses.entries()) expect(loss).toBeCloseTo(whole.losses[i], 3);
  const resumed = await train({ output_dir: whole.out }, `${whole.out}/checkpoint-3`);
  expect(resumed.losses).toEqual(whole.losses);
  expect(resumed.eval_loss).toBe(whole.eval_loss); // nothing is drawn in an evaluation
  expect(() => new SFTConfig({ neftune_noise_alpha: 0 })).toThrow(/neftune_noise_alpha must be a number greater than 0/);
});
