import { checkFlags, checkNumber } from '../core/options';
import * as tf from '../engine/tf';
import type { Writable } from '../formats/safetensors';
import { type Linear, Made, Parameter, writable } from '../nn';
import { ModuleAdapter, PREFIX } from './adapter';
import { Budget, budgetAt, type Schedule, type Triplets } from './budget';
import { LORA_FIELDS } from './fields';
import { BIAS, drawn, LinearConfig, type Place, TURNED } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { dropoutText } from './printed';
import { ALPHA, checkRank } from './ranks';
import { NO_TARGETS, type Targets } from './targets';

/** Options of AdaLoRA under PEFT's names (peft 0.21), with its defaults. */
export interface AdaLoraOptions extends CommonOptions, Targets {
  /** Singular values that a module has in the end, on average. Default: 8. */
  target_r: number;
  /** Singular values that each module begins with. Default: 12. */
  init_r: number;
  /** Steps before the first are taken away. Default: 0. */
  tinit: number;
  /** Steps at the end in which no more are. Default: 0. */
  tfinal: number;
  /** Steps from one choice to the next. Default: 1. */
  deltaT: number;
  /** How slowly the importance of values changes, from 0 to 1. Default: 0.85. */
  beta1: number;
  /** How slowly its uncertainty does. Default: 0.85. */
  beta2: number;
  /** What keeps the singular vectors orthogonal: the weight of how far they are not, in the loss. Default: 0.5. */
  orth_reg_weight: number;
  /** All steps of the training, which the budget is planned by. It has to be given. Default: null. */
  total_step: number | null;
  /** The update is scaled by lora_alpha / init_r. Default: 8. */
  lora_alpha: number;
  /** Share of the inputs that are dropped while training. Default: 0. */
  lora_dropout: number;
  /** Whether singular values begin as zero, so that nothing changes; false: at random. Default: true. */
  init_lora_weights: boolean;
  /** Which singular values of each module stay: set while training, and saved with the adapter. Default: null. */
  rank_pattern: Record<string, boolean[]> | null;
}

const DEFAULTS: AdaLoraOptions = {
  ...COMMON,
  ...NO_TARGETS,
  ...{ target_r: 8, init_r: 12, tinit: 0, tfinal: 0, deltaT: 1, beta1: 0.85, beta2: 0.85, orth_reg_weight: 0.5, total_step: null },
  ...{ lora_alpha: 8, lora_dropout: 0, init_lora_weights: true, rank_pattern: null },
};

export interface AdaLoraConfig extends AdaLoraOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * AdaLoRA (Zhang et al., 2023, https://arxiv.org/abs/2303.10512): y = W x + lora_alpha / init_r * B (E * A) x, a singular value decomposition whose least important triplets are
 * taken away while training, so that in the end the modules that need them have more. The trainer does that after each step.
 */
export class AdaLoraConfig extends LinearConfig<AdaLoraOptions> {
  static readonly spec: OptionsSpec<AdaLoraOptions> = {
    peft_type: 'ADALORA',
    owner: 'AdaLoraConfig',
    tuner: 'AdaLoraModel',
    defaults: DEFAULTS,
    fields: {
      ...LORA_FIELDS,
      ...BIAS,
      ...TURNED,
      r: { unused: 8, would: 'do nothing, since init_r and target_r say the ranks', initial: true },
      alpha_pattern: { unused: {}, would: 'scale modules differently' },
      use_rslora: { unused: false, would: 'do nothing, since AdaLoRA has a scale of its own' },
      lora_bias: { unused: false, would: 'do nothing beside AdaLoRA' },
      use_dora: { unused: false, would: 'train lengths apart (DoRA), which AdaLoRA does not' },
      loftq_config: { unused: {}, would: 'set up LoftQ, which AdaLoRA does not have' },
    },
  };

  protected override checkOwn(saved: boolean): void {
    const check = (name: keyof AdaLoraOptions, rule: object, remedy: string) =>
      checkNumber('AdaLoraConfig', name, this[name], rule, remedy);
    for (const name of ['target_r', 'init_r', 'deltaT'] as const) check(name, { integer: true, min: 1 }, 'It is a whole number.');
    for (const name of ['tinit', 'tfinal'] as const) check(name, { integer: true, min: 0 }, 'It is a number of steps.');
    for (const name of ['beta1', 'beta2'] as const) check(name, { above: 0, below: 1 }, '0.85 is usual.');
    check('orth_reg_weight', { min: 0 }, '0.1 to 0.5 are common.');
    check('lora_alpha', { above: 0 }, ALPHA);
    check('lora_dropout', { min: 0, below: 1 }, 'It is a share.');
    checkFlags('AdaLoraConfig', this, 'init_lora_weights');
    if (saved && this.total_step === null) return;
    check(
      'total_step',
      { integer: true, min: 1 },
      'Give the number of steps of the whole training (max_steps, or rows / batch size * epochs): the budget is planned by it.',
    );
    const total = this.total_step as number;
    if (this.tinit >= total - this.tfinal)
      this.refuse(
        'total_step',
        `leaves no steps between tinit = ${this.tinit} and tfinal = ${this.tfinal} in which ranks could fall. Make these fewer.`,
      );
    if (this.target_r > this.init_r) this.refuse('target_r', `is above init_r = ${this.init_r}: ranks only fall.`);
  }

  get summary(): string {
    return `An AdaLoRA adapter (init_r = ${this.init_r}, target_r = ${this.target_r})`;
  }

  override apply(model: BaseModel, how: Applied): AdaLoraAdapter {
    const layers = this.layers(model, how.saved);
    const ends = Object.keys(this.rank_pattern ?? {});
    const wrong = how.saved ? undefined : ends[0];
    if (wrong) this.refuse('rank_pattern', 'is found while training: a new adapter has none. Leave it out.');
    const triplets = new Map<string, Triplets>();
    const terms = this.terms(layers, how, (place) => this.term(place, triplets));
    return new AdaLoraAdapter(terms, triplets, this);
  }

  private term({ layer, path, random, saved, serial }: Place, triplets: Map<string, Triplets>): LinearTerm {
    const { inFeatures: into, outFeatures: out } = layer;
    const { init_r, init_lora_weights: init, lora_dropout: dropout } = this;
    checkRank('AdaLoraConfig', 'init_r', init_r, path, layer.weight.shape, { saved });
    // Of a saved adapter what was taken away is not in the file.
    const r = this.rank_pattern?.[keyOf(path)]?.filter(Boolean).length ?? init_r;
    const normal = (deviation: number) => () => random.normal() * deviation;
    const a = drawn([r, into], normal(init ? 0.02 : 1));
    const e = drawn([r, 1], init ? () => 0 : normal(1));
    const b = drawn([out, r], normal(init ? 0.02 : 1));
    triplets.set(path, { a, b, e });
    const pair = { a: new Made([r, into], () => tf.mul(a.tensor, e.tensor)), b, scale: this.lora_alpha / (init_r + 1e-5), dropout, serial };
    const parameters = { lora_A: a, lora_B: b, lora_E: e };
    return new LinearTerm(
      layer,
      parameters,
      { pair },
      { name: 'adalora.SVDLinear', parts: { lora_dropout: dropoutText(dropout), ...parameters } },
    );
  }
}

/** What PEFT calls a module's singular values in rank_pattern. */
const keyOf = (path: string): string => `${path}.lora_E`;

/** AdaLoRA's terms with the budget of their ranks. */
class AdaLoraAdapter extends ModuleAdapter<LinearTerm> {
  private readonly budget: Budget;
  private readonly rows: [path: string, triplets: Triplets][];

  constructor(
    terms: Map<string, { module: Linear; term: LinearTerm }>,
    triplets: Map<string, Triplets>,
    private readonly config: AdaLoraConfig,
  ) {
    super(terms);
    this.rows = [...triplets];
    this.budget = new Budget([...triplets.values()], [config.beta1, config.beta2]);
  }

  /** orth_reg_weight times the mean of |A A^T - I| and |B^T B - I| over all modules: [] */
  penalty(): tf.Scalar {
    const products = this.rows.flatMap(([, { a, b }]) =>
      a.shape[0]
        ? [
            tf.matMul(a.tensor as tf.Tensor2D, a.tensor as tf.Tensor2D, false, true),
            tf.matMul(b.tensor as tf.Tensor2D, b.tensor as tf.Tensor2D, true),
          ]
        : [],
    );
    const off = products.map((product) => tf.sqrt(tf.sum(tf.square(tf.sub(product, tf.eye(product.shape[0]))))));
    const sum = off.reduce<tf.Tensor>((all, one) => tf.add(all, one), tf.scalar(0));
    return tf.mul(sum, this.config.orth_reg_weight / Math.max(off.length, 1)) as tf.Scalar;
  }

  /** Weighs what a step (counted from 0) has changed, and takes away what the budget has no room for. As PEFT's update_and_allocate. */
  stepped(step: number, gradients: ReadonlyMap<string, tf.Tensor>, clip = 1): void {
    const { total_step, tfinal, target_r } = this.config;
    if (total_step === null) return;
    const last = total_step - tfinal;
    if (step > last) {
      this.mask();
      return;
    }
    const named = new Map([...this.parameters].map(([name, p]) => [p, name]));
    if (step < last) this.budget.weigh((p) => tf.mul(gradients.get(named.get(p) as string) ?? tf.zerosLike(p.tensor), clip));
    const first = this.rows.reduce((sum, [, { e }]) => sum + e.shape[0], 0);
    const [budget, choose] = budgetAt(step, first, target_r * this.rows.length, this.config as Schedule);
    if (choose || step === last) {
      const stays = this.budget.choose(budget);
      this.config.rank_pattern = Object.fromEntries(this.rows.map(([path], i) => [keyOf(path), stays[i]]));
      this.mask();
    }
    if (step === last) this.budget.reset();
  }

  private mask(): void {
    for (const [path, { e }] of this.rows) {
      const stays = this.config.rank_pattern?.[keyOf(path)];
      if (stays?.length === e.shape[0]) e.assign(tf.keep(tf.tidy(() => tf.mul(e.tensor, tf.tensor(stays.map(Number), e.shape)))));
    }
  }

  /** What is saved of its tensors: what stays of them. The caller frees these. */
  kept(): Map<string, Parameter> {
    const kept = new Map<string, Parameter>();
    for (const [path, { a, b, e }] of this.rows) {
      const stays = this.config.rank_pattern?.[keyOf(path)];
      if (!stays || stays.length !== e.shape[0] || stays.every(Boolean)) continue;
      const at = tf.tensor1d(
        stays.flatMap((one, i) => (one ? [i] : [])),
        'int32',
      );
      for (const [name, p, axis] of [['lora_A', a, 0], ['lora_B', b, 1], ['lora_E', e, 0]] as const) // biome-ignore format: triplets
        kept.set(`${PREFIX}${path}.${name}`, new Parameter(tf.keep(tf.tidy(() => tf.gather(p.tensor, at, axis)))));
      at.dispose();
    }
    return kept;
  }

  private *remembered(): Generator<[name: string, p: Parameter]> {
    for (const [name, p] of this.parameters) yield [`adalora/${name}`, p];
  }

  /** What a checkpoint needs beside what is saved: all values, what they have meant, which stay. */
  memory(): Writable[] {
    const as = (name: string, tensor: tf.Tensor) => writable([name, new Parameter(tensor)]);
    const stays = this.rows.map(([path, { e }]) => {
      const kept = this.config.rank_pattern?.[keyOf(path)] ?? Array<boolean>(e.shape[0]).fill(true);
      const values = Float32Array.from(kept, Number);
      return { name: `adalora/${path}/stays`, shape: [kept.length], data: async () => values };
    });
    const values = [...this.remembered()].flatMap(([name, p]) => {
      const { mean = p.tensor, spread = p.tensor } = this.budget.of(p) ?? {};
      return [as(name, p.tensor), as(`${name}/mean`, mean), as(`${name}/spread`, spread)];
    });
    const known = { name: 'adalora/known', shape: [1], data: async () => Float32Array.of(this.budget.of(this.rows[0][1].e) ? 1 : 0) };
    return [known, ...stays, ...values];
  }

  async recall(read: (name: string, shape: number[]) => Promise<tf.Tensor>): Promise<void> {
    const flags = async (name: string, size: number) => {
      const tensor = await read(name, [size]);
      const values = Array.from(tensor.dataSync(), Boolean);
      tensor.dispose();
      return values;
    };
    const [known] = await flags('adalora/known', 1);
    const pattern: Record<string, boolean[]> = {};
    for (const [path, { e }] of this.rows) pattern[keyOf(path)] = await flags(`adalora/${path}/stays`, e.shape[0]);
    this.config.rank_pattern = Object.values(pattern).flat().every(Boolean) ? null : pattern;
    for (const [name, p] of this.remembered()) {
      p.assign(tf.keep(await read(name, p.shape)));
      const meant = { mean: await read(`${name}/mean`, p.shape), spread: await read(`${name}/spread`, p.shape) };
      if (known) this.budget.recall(p, { mean: tf.keep(meant.mean), spread: tf.keep(meant.spread) });
      else for (const tensor of Object.values(meant)) tensor.dispose();
    }
  }

  override release(): void {
    super.release();
    this.budget.reset();
  }
}
