import { adamwStep, adamwStep8, type PackedMoment } from '../../engine/ops/adamw';
import * as tf from '../../engine/tf';
import type { Entry, OptimizerKind } from './optimizer';

const fp32 = { eightBit: false };
const packed = { eightBit: true };
const paged = { paged: true };

/** AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) as PyTorch steps, all tensors in one op. */
export const adamw = {
  // bitsandbytes pages moments between a GPU's memory and the machine's; here it is between memory and the disk.
  names: {
    adamw_torch_fused: fp32,
    adamw_torch: fp32,
    adamw_hf: fp32,
    paged_adamw: { ...fp32, ...paged },
    paged_adamw_32bit: { ...fp32, ...paged },
    adamw_8bit: packed,
    adamw_bnb_8bit: packed,
    paged_adamw_8bit: { ...packed, ...paged },
  },
  slots: (shape) => [
    { name: 'exp_avg', shape, signed: true },
    { name: 'exp_avg_sq', shape, signed: false },
  ],
  apply(entries, step, { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: eps }) {
    const hyper = { ...step, beta1, beta2, eps };
    const isPacked = ({ states }: Entry) => Boolean(states[0].packed);
    const tensors = ({ parameter, gradient }: Entry) => ({ p: parameter.tensor, g: gradient });
    adamwStep8(
      entries.filter(isPacked).map((entry) => {
        const [m, v] = entry.states.map((state) => state.packed as PackedMoment);
        return { ...tensors(entry), m, v };
      }),
      hyper,
    );
    const full = entries.filter((entry) => !isPacked(entry));
    const stepped = adamwStep(
      full.map((entry) => ({ ...tensors(entry), m: entry.states[0].full, v: entry.states[1].full })),
      hyper,
    );
    for (const [i, { p, m, v }] of stepped.entries()) {
      const { parameter, states } = full[i];
      if (p === parameter.tensor) continue; // changed in place
      parameter.assign(tf.keep(p));
      states[0].write(m);
      states[1].write(v);
    }
  },
} satisfies OptimizerKind;
