import { withPrecision } from '../engine/precision';
import { untaped } from '../engine/tape';
import * as tf from '../engine/tf';
import { type Beside, dropped, type Linear, type LowRank, type Matrix, Parameter, type Scale } from '../nn';
import { dropoutSeed } from '../nn/mode';

/**
 * The magnitudes of DoRA (Liu et al., 2024, https://arxiv.org/abs/2402.09353): y = m / |W + s B A| * (W + s B A) x + bias, with the norm of each row, which is a
 * constant to the backward pass (section 4.3). The norms are found without the sum of the two matrices, from products with A and B alone:
 * |W + s B A|^2 = |W|^2 + 2 s (W A^T . B) + s^2 (B A A^T . B) in each row.
 */
export class Magnitude implements Scale {
  readonly sparesBias = true;
  readonly shape: number[];
  /** What the rows of W are long; [out] */
  readonly magnitude: Parameter;
  private known?: { of: Matrix; squares: tf.Tensor };

  /** Of the sum as it is now. `rest`: what stands in the place of the layer's matrix with it. */
  constructor(
    private readonly layer: Linear,
    private readonly pair: LowRank,
    private readonly rest?: Matrix,
  ) {
    this.shape = [layer.outFeatures, 1];
    this.magnitude = new Parameter(tf.keep(tf.tidy(() => this.norms())));
  }

  /** W: not what another adapter has put in its place. */
  private get matrix(): Matrix {
    return this.rest ?? this.layer.owned('weight');
  }

  /** [out, 1] */
  get tensor(): tf.Tensor {
    return tf.tidy(() => tf.reshape(tf.div(this.magnitude.tensor, this.norms()), this.shape));
  }

  /** |W + s B A| of each row: [out] */
  private norms(): tf.Tensor {
    const { layer, pair, matrix } = this;
    return untaped(() =>
      withPrecision('fp32', () =>
        tf.tidy(() => {
          const [a, b] = [pair.a.tensor as tf.Tensor2D, pair.b.tensor as tf.Tensor2D];
          const crossed = tf.mul(tf.transpose(layer.times(a, matrix)), 2 * pair.scale);
          const within = tf.mul(tf.matMul(b, tf.matMul(a, a, false, true)), pair.scale ** 2);
          return tf.sqrt(tf.add(this.squares(), tf.sum(tf.mul(tf.add(crossed, within), b), 1)));
        }),
      ),
    );
  }

  /** |W|^2 of each row. Where W is frozen it is found once. */
  private squares(): tf.Tensor {
    const { matrix: weight } = this;
    if (this.known?.of === weight) return this.known.squares;
    const squares = tf.tidy(() => tf.sum(tf.square(weight instanceof Parameter ? weight.tensor : weight.dequantize()), 1));
    if (weight instanceof Parameter && weight.requires_grad) return squares;
    this.dispose();
    this.known = { of: weight, squares: tf.keep(squares) };
    return squares;
  }

  dispose(): void {
    this.known?.squares.dispose();
    this.known = undefined;
  }
}

/**
 * What stands beside a pair with magnitudes while its inputs are dropped, as in PEFT: what W makes of the inputs is scaled for those that stay alone,
 * y = W x + (m - 1) W d(x) + m s B A d(x) + bias, with m for m / |W + s B A|.
 */
export const besideDropped = (layer: Linear, pair: LowRank, magnitude: Magnitude): Beside => ({
  get adds() {
    if (dropoutSeed() === undefined) return undefined;
    const scaled = () => tf.sub(1, tf.div(1, tf.reshape(magnitude.tensor, [-1]))); // all of it is multiplied by m afterwards
    return (x: tf.Tensor) => tf.mul(layer.times(tf.sub(dropped(x, pair), x)), scaled());
  },
});
