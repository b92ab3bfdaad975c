import { OptionError } from '../core/errors';
import { checkFlags, checkNumber, show } from '../core/options';
import { TorchRandom } from '../core/torch_random';
import { product } from '../engine/ops/linear';
import * as tf from '../engine/tf';
import type { Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { BIAS, drawn, LinearConfig, type Place, TURNED } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { endMatch } from './patterns';
import { pick } from './ranks';
import { NO_TARGETS, type Targets, type Usual } from './targets';

/** Options of FourierFT under PEFT's names (peft 0.21), with its defaults. */
export interface FourierFTOptions extends CommonOptions, Targets {
  /** How many coefficients of a matrix's spectrum are trained. Default: 1000. */
  n_frequency: number;
  /** What the update is multiplied by. Default: 150. */
  scaling: number;
  /** The seed by which their places are drawn, as torch does. Default: 777. */
  random_loc_seed: number;
  /** Other numbers of coefficients for modules, by regular expressions for the ends of their names. Default: {}. */
  n_frequency_pattern: Record<string, number>;
  /** Whether coefficients begin as zero, so that nothing changes; false: at random. Default: false. */
  init_weights: boolean;
}

const DEFAULTS: FourierFTOptions = {
  ...COMMON,
  ...NO_TARGETS,
  n_frequency: 1000,
  scaling: 150,
  random_loc_seed: 777,
  n_frequency_pattern: {},
  init_weights: false,
};

export interface FourierFTConfig extends FourierFTOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

const COUNT = 'It is the number of trained coefficients of a matrix; 1000 is usual.';

/**
 * FourierFT (Gao et al., 2024, https://arxiv.org/abs/2405.03003): y = W x + scaling * Re(F^-1(S)) x, where a few coefficients of the spectrum S [out, in], at places that a
 * seed draws for all layers, are trained.
 */
export class FourierFTConfig extends LinearConfig<FourierFTOptions> {
  static readonly spec: OptionsSpec<FourierFTOptions> = {
    peft_type: 'FOURIERFT',
    owner: 'FourierFTConfig',
    tuner: 'FourierFTModel',
    defaults: DEFAULTS,
    fields: { ...BIAS, ...TURNED },
  };

  protected override checkOwn(): void {
    this.n_frequency_pattern ??= {};
    checkNumber('FourierFTConfig', 'n_frequency', this.n_frequency, { integer: true, min: 1 }, COUNT);
    for (const [pattern, n] of Object.entries(this.n_frequency_pattern)) {
      checkNumber('FourierFTConfig', `n_frequency_pattern[${show(pattern)}]`, n, { integer: true, min: 1 }, COUNT);
      endMatch(pattern, 'n_frequency_pattern');
    }
    checkNumber('FourierFTConfig', 'scaling', this.scaling, {}, '100 to 300 are common.');
    if (!Number.isSafeInteger(this.random_loc_seed)) this.refuse('random_loc_seed', 'must be a whole number: it is a seed.');
    checkFlags('FourierFTConfig', this, 'init_weights');
  }

  protected override get usual(): Usual {
    return { default: ['q_proj', 'v_proj'], gpt2: ['mlp.c_proj'] };
  }

  get summary(): string {
    return `A FourierFT adapter (n_frequency = ${this.n_frequency})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    return this.each(model, how, (place) => this.term(place));
  }

  protected override get patterns() {
    const { n_frequency_pattern } = this;
    return { n_frequency_pattern };
  }

  private term({ layer, path, random }: Place): LinearTerm {
    const shape: [number, number] = [layer.outFeatures, layer.inFeatures];
    const n = pick('n_frequency_pattern', this.n_frequency_pattern, path, this.n_frequency);
    const all = shape[0] * shape[1];
    if (n > all)
      throw new OptionError(
        `FourierFTConfig: n_frequency = ${n}, but the spectrum of ${path} [${shape}] has only ${all} coefficients. Choose fewer.`,
      );
    const places = new TorchRandom(this.random_loc_seed).permutation(all, n);
    const spectrum = drawn([n], () => (this.init_weights ? 0 : random.normal()));
    const adds = (x: tf.Tensor) => product(x, tf.mul(spread(spectrum, places, shape), this.scaling));
    const words = { name: 'fourierft.FourierFTLinear', parts: { fourierft_spectrum: spectrum } };
    return new LinearTerm(layer, { fourierft_spectrum: spectrum }, { beside: { adds } }, words);
  }
}

/** The matrix with these coefficients at these places of its spectrum. The map is its own adjoint: gradients of coefficients are the same of the matrix's. */
function spread(spectrum: Parameter, places: number[], shape: [number, number]): tf.Tensor {
  return tf.customGrad((given) => {
    const at = tf.tensor2d(places, [places.length, 1], 'int32');
    const value = realInverse(tf.reshape(tf.scatterND(at, given as tf.Tensor, [shape[0] * shape[1]]), shape) as tf.Tensor2D);
    const gradFunc = (dy: tf.Tensor) => tf.gather(tf.reshape(realInverse(dy as tf.Tensor2D), [-1]), tf.tensor1d(places, 'int32'));
    return { value, gradFunc };
  })(spectrum.tensor);
}

/** The real part of the inverse Fourier transform in both dimensions. */
function realInverse(x: tf.Tensor2D): tf.Tensor2D {
  const along = tf.ifft(tf.complex(x, tf.zerosLike(x)));
  const turned = tf.complex(tf.transpose(tf.real(along)), tf.transpose(tf.imag(along)));
  return tf.transpose(tf.real(tf.ifft(turned))) as tf.Tensor2D;
}
