import { isNative } from '../engine/backend';
import { type AdamWHyper, adamwStep, adamwStep8, PackedMoment } from '../engine/ops/adamw';
import * as tf from '../engine/tf';
import type { Writable } from '../formats/safetensors';
import type { Parameter } from '../nn';

export interface AdamWOptions {
  beta1: number;
  beta2: number;
  eps: number;
  weight_decay: number;
  /** Keep moments in 8 bits. Tensors of fewer values than bitsandbytes' limit, and other backends, keep fp32. */
  eightBit?: boolean;
}

const SMALLEST_PACKED = 4096;

type Moments = [m: tf.Tensor, v: tf.Tensor] | [m: PackedMoment, v: PackedMoment];
const arePacked = (moments: Moments): moments is [PackedMoment, PackedMoment] => moments[0] instanceof PackedMoment;

/** AdamW over named parameters; a checkpoint holds its moments in fp32. */
export class AdamW {
  private readonly moments = new Map<string, Moments>();
  /** Steps taken. */
  step = 0;

  constructor(
    private readonly parameters: Map<string, Parameter>,
    private readonly options: AdamWOptions,
  ) {
    for (const [name, parameter] of parameters) {
      // It will be changed in place, and may share its memory with the array it was made from.
      parameter.assign(tf.keep(tf.mul(parameter.tensor, 1)));
      const { tensor } = parameter;
      const packed = options.eightBit && isNative() && tensor.size >= SMALLEST_PACKED;
      const zeros = () => tf.keep(tf.zeros(tensor.shape));
      this.moments.set(name, packed ? [new PackedMoment(tensor.shape, true), new PackedMoment(tensor.shape, false)] : [zeros(), zeros()]);
    }
  }

  /** Updates every parameter by its gradient times `factor`. */
  apply(gradients: Map<string, tf.Tensor>, lr: number, factor: number): void {
    this.step++;
    // Weight decay leaves biases and norms alone; low-rank factors are matrices.
    const [plain, decayed] = [[], []] as [string, Parameter][][];
    for (const entry of this.parameters) (entry[1].tensor.rank < 2 ? plain : decayed).push(entry);
    const { beta1, beta2, eps, weight_decay } = this.options;
    const hyper = { beta1, beta2, eps, lr, step: this.step, factor };
    this.update(plain, gradients, { ...hyper, weight_decay: 0 });
    this.update(decayed, gradients, { ...hyper, weight_decay });
  }

  private update(entries: [string, Parameter][], gradients: Map<string, tf.Tensor>, hyper: AdamWHyper): void {
    const full: { name: string; parameter: Parameter; p: tf.Tensor; g: tf.Tensor; m: tf.Tensor; v: tf.Tensor }[] = [];
    const packed: { p: tf.Tensor; g: tf.Tensor; m: PackedMoment; v: PackedMoment }[] = [];
    for (const [name, parameter] of entries) {
      const moments = this.moments.get(name) as Moments;
      const both = { p: parameter.tensor, g: gradients.get(name) as tf.Tensor };
      if (arePacked(moments)) packed.push({ ...both, m: moments[0], v: moments[1] });
      else full.push({ name, parameter, ...both, m: moments[0], v: moments[1] });
    }
    adamwStep8(packed, hyper);
    for (const [i, { p, m, v }] of adamwStep(full, hyper).entries()) {
      const { name, parameter, m: oldM, v: oldV } = full[i];
      if (p === parameter.tensor) continue; // changed in place
      for (const tensor of [p, m, v]) tf.keep(tensor);
      parameter.assign(p);
      oldM.dispose();
      oldV.dispose();
      this.moments.set(name, [m, v]);
    }
  }

  /** Its state by name: '<parameter>.exp_avg' and '.exp_avg_sq', as PyTorch calls them. */
  *state(): Generator<Writable> {
    for (const [name, moments] of this.moments)
      for (const [i, kind] of ['exp_avg', 'exp_avg_sq'].entries()) {
        const moment = moments[i];
        const data = async () => (moment instanceof PackedMoment ? moment.read() : ((await moment.data()) as Float32Array));
        yield { name: `${name}.${kind}`, shape: moment.shape, data };
      }
  }

  async restore(step: number, read: (name: string, shape: number[]) => Promise<tf.Tensor>): Promise<void> {
    this.step = step;
    for (const [name, moments] of this.moments) {
      const [m, v] = [await read(`${name}.exp_avg`, moments[0].shape), await read(`${name}.exp_avg_sq`, moments[1].shape)];
      if (arePacked(moments)) {
        moments[0].write(m);
        moments[1].write(v);
      } else {
        for (const old of moments) old.dispose();
        this.moments.set(name, [tf.keep(m), tf.keep(v)]);
      }
    }
  }

  dispose(): void {
    for (const pair of this.moments.values()) for (const moment of pair) moment.dispose();
    this.moments.clear();
  }
}
