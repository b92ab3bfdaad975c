import { OptionError } from '../core/errors';
import { type Known, readOptions, show } from '../core/options';
import { Random } from '../core/random';
import { svd } from '../engine/decompose';
import * as tf from '../engine/tf';
import { LoraConfig } from './lora';
import { plainPairs, type TrainedPair } from './lora_term';
import type { Part } from './part';

type Sign = 'total' | 'frequency';

/** Options of add_weighted_adapter under PEFT's names. */
export interface CombineOptions {
  /**
   * 'svd': the best pair for the weighted sum of the updates; 'cat': that sum itself, of all ranks together; 'linear': halves added up, which is rough. 'ties', 'dare_linear',
   * 'dare_ties' and 'magnitude_prune' leave values out first (see density), of the halves or, with '_svd' behind them, of the updates. Default: 'svd'.
   */
  combination_type: Known<(typeof TYPES)[number]>;
  /** Of '..svd': the new rank; null: the largest of the adapters'. Default: null. */
  svd_rank: number | null;
  /** Of '..svd': the quantile beyond which values are cut off. Default: null. */
  svd_clamp: number | null;
  /** Which share of the values stays, of those that leave some out. Default: null. */
  density: number | null;
  /** Of 'ties': whether the sign that wins is that of the sum ('total') or that of most ('frequency'). Default: 'total'. */
  majority_sign_method: Known<Sign>;
  /** Of 'dare': draws which values stay. Default: 42. */
  seed: number;
}

const TYPES = [
  ...(['svd', 'linear', 'cat', 'ties', 'ties_svd', 'dare_linear', 'dare_linear_svd', 'dare_ties', 'dare_ties_svd'] as const),
  ...(['magnitude_prune', 'magnitude_prune_svd'] as const),
] as const;

const DEFAULTS: CombineOptions = {
  ...{ combination_type: 'svd', svd_rank: null, svd_clamp: null, density: null, majority_sign_method: 'total', seed: 42 },
};

/** A new adapter: its config, and the halves of each module's pair by path, as tensors that the caller disposes. */
export interface Combined {
  config: LoraConfig;
  pairs: Map<string, { a: tf.Tensor; b: tf.Tensor }>;
}

export const freePairs = (pairs: Combined['pairs']): void => {
  for (const half of [...pairs.values()].flatMap(({ a, b }) => [a, b])) half.dispose();
};

/** Pairs as `fill` puts them in; none are left where it fails. */
export function gathered(fill: (pairs: Combined['pairs']) => void): Combined['pairs'] {
  const pairs: Combined['pairs'] = new Map();
  try {
    fill(pairs);
    return pairs;
  } catch (error) {
    freePairs(pairs);
    throw error;
  }
}

/** An adapter in a weighted sum: its pairs by path. Other things than plain pairs are an OptionError. */
function summand(name: string, { config, adapters }: Part): Map<string, TrainedPair> {
  const pairs = config instanceof LoraConfig ? plainPairs(adapters) : undefined;
  if (pairs) return pairs;
  const whole = adapters.length > 1 ? ' with modules trained whole' : '';
  throw new OptionError(
    `add_weighted_adapter: ${show(name)} is ${config.summary}${whole}, and only plain LoRA pairs add up. convert_to_lora makes LoRA of other methods.`,
  );
}

/** Works adapters into one, as PEFT's add_weighted_adapter does. */
export function combine(parts: Map<string, Part>, weights: number[], given: Partial<CombineOptions> & Record<string, unknown>): Combined {
  const o = readOptions<CombineOptions>('add_weighted_adapter', given, DEFAULTS);
  const names = [...parts.keys()];
  check(o, names, weights);
  const pairs = names.map((name) => summand(name, parts.get(name) as Part));
  const type = names.length === 1 ? 'linear' : o.combination_type;
  const paths = [...new Set(pairs.flatMap((of) => [...of.keys()]))];
  if (type !== 'cat' && !type.endsWith('svd')) checkRanks(type, paths, pairs);
  const ranks = pairs.map((of) => Math.max(...[...of.values()].map(({ a }) => a.shape[0])));
  const most = Math.max(...ranks);
  const r = type === 'cat' ? ranks.reduce((sum, rank) => sum + rank, 0) : type.endsWith('svd') ? (o.svd_rank ?? most) : most;
  const random = Random.seeded(o.seed);
  const config = configFor(parts, paths, r);
  const made = gathered((all) => {
    for (const path of paths) {
      const here = pairs.flatMap((of, i) => (of.has(path) ? [{ pair: of.get(path) as TrainedPair, weight: weights[i] }] : []));
      const halves = () =>
        type === 'cat' ? joined(here) : type.endsWith('svd') ? decomposed(here, type, r, o, random) : added(here, type, o, random);
      const [a, b] = tf.tidy(() => padded(halves(), r));
      all.set(path, { a: tf.keep(a), b: tf.keep(b) });
    }
  });
  return { config, pairs: made };
}

/** Refuses to add up halves of several ranks; those of one module may be others than those of the next. */
function checkRanks(type: string, paths: string[], pairs: Map<string, TrainedPair>[]): void {
  for (const path of paths) {
    const ranks = pairs.flatMap((of) => of.get(path)?.a.shape[0] ?? []);
    if (new Set(ranks).size > 1)
      throw new OptionError(
        `add_weighted_adapter: ${show(type)} adds up halves of one rank, but at ${path} the ranks are ${ranks.join(', ')}. Use 'svd' or 'cat'.`,
      );
  }
}

function check(o: CombineOptions, names: string[], weights: number[]): void {
  const fail = (text: string): never => {
    throw new OptionError(`add_weighted_adapter: ${text}`);
  };
  if (!names.length) fail('there is nothing to combine. Give names of adapters.');
  if (weights.length !== names.length || !weights.every(Number.isFinite))
    fail(`weights are ${show(weights)}, for ${names.length} adapters. Give a number for each.`);
  if (!TYPES.includes(o.combination_type as never)) fail(`combination_type is ${show(o.combination_type)}; it can be ${TYPES.join(', ')}.`);
  const prunes = /ties|dare|prune/.test(o.combination_type);
  if (prunes && !(typeof o.density === 'number' && o.density >= 0 && o.density <= 1))
    fail(`${show(o.combination_type)} needs a density from 0 to 1: the share of values that stay; it is ${show(o.density)}.`);
  if (!prunes && o.density !== null) fail(`density has no effect with ${show(o.combination_type)}. Leave it out.`);
  if (!['total', 'frequency'].includes(o.majority_sign_method))
    fail(`majority_sign_method is ${show(o.majority_sign_method)}; it can be 'total' or 'frequency'.`);
  for (const [name, of] of [['majority_sign_method', 'ties'], ['seed', 'dare']] as const) // biome-ignore format: pairs
    if (o[name] !== DEFAULTS[name] && !o.combination_type.includes(of))
      fail(`${name} has no effect with ${show(o.combination_type)}. Leave it out.`);
  if (!Number.isSafeInteger(o.seed)) fail(`seed is ${show(o.seed)}; it is a whole number.`);
  if (o.svd_rank !== null && !(Number.isInteger(o.svd_rank) && o.svd_rank > 0))
    fail(`svd_rank is ${show(o.svd_rank)}; it is a whole number.`);
  if (!o.combination_type.endsWith('svd'))
    for (const name of ['svd_rank', 'svd_clamp'] as const)
      if (o[name] !== null) fail(`${name} has no effect with ${show(o.combination_type)}. Leave it out.`);
  if (o.svd_clamp !== null && !(o.svd_clamp >= 0 && o.svd_clamp <= 1))
    fail(`svd_clamp is ${show(o.svd_clamp)}; it is a quantile from 0 to 1.`);
}

function configFor(parts: Map<string, Part>, paths: string[], r: number): LoraConfig {
  const [first, ...others] = [...parts.values()].map(({ config }) => config as LoraConfig);
  const targets = ({ target_modules, exclude_modules, layers_to_transform, layers_pattern }: LoraConfig) => ({
    target_modules,
    exclude_modules,
    layers_to_transform,
    layers_pattern,
  });
  const alike = others.every((other) => JSON.stringify(targets(other)) === JSON.stringify(targets(first)));
  const { task_type, base_model_name_or_path } = first as unknown as Record<string, never>;
  return new LoraConfig({ ...(alike ? targets(first) : { target_modules: paths }), r, lora_alpha: r, task_type, base_model_name_or_path });
}

interface Weighted {
  pair: TrainedPair;
  weight: number;
}
type Halves = [a: tf.Tensor2D, b: tf.Tensor2D];

/** The same with zeros for the directions that there are fewer than r. */
const padded = ([a, b]: Halves, r: number): Halves => {
  const missing = r - a.shape[0];
  return [tf.pad(a, [[0, missing], [0, 0]]), tf.pad(b, [[0, 0], [0, missing]])]; // biome-ignore format: pairs
};

/** All directions side by side. */
function joined(all: Weighted[]): Halves {
  const a = tf.concat(all.map(({ pair, weight }) => tf.mul(pair.a.tensor, weight * pair.scale))) as tf.Tensor2D;
  const b = tf.concat(
    all.map(({ pair }) => pair.b.tensor),
    1,
  ) as tf.Tensor2D;
  return [a, b];
}

/** The halves, each weighted by the root of what its product is. */
function added(all: Weighted[], type: string, o: CombineOptions, random: Random): Halves {
  const roots = all.map(({ pair, weight }) => Math.sqrt(Math.abs(weight * pair.scale)));
  const signed = all.map(({ pair, weight }, i) => (weight * pair.scale >= 0 ? roots[i] : -roots[i]));
  const sum = (half: 'a' | 'b', weights: number[]) => merged(all.map(({ pair }) => pair[half].tensor), weights, type, o, random) as tf.Tensor2D; // biome-ignore format: one
  return [sum('a', signed), sum('b', roots)];
}

/** The r largest directions of the updates' sum. */
function decomposed(all: Weighted[], type: string, r: number, o: CombineOptions, random: Random): Halves {
  const updates = all.map(({ pair }) => tf.mul(tf.matMul(pair.b.tensor as tf.Tensor2D, pair.a.tensor as tf.Tensor2D), pair.scale));
  const sum = merged(updates, all.map(({ weight }) => weight), type.replace(/_?svd$/, '') || 'linear', o, random) as tf.Tensor2D; // biome-ignore format: one
  const { u, s, v } = svd(sum);
  const most = Math.min(r, s.shape[0]);
  const b = tf.mul(tf.slice(u, [0, 0], [-1, most]), tf.slice(s, 0, most)) as tf.Tensor2D;
  const a = tf.transpose(tf.slice(v, [0, 0], [-1, most])) as tf.Tensor2D;
  return o.svd_clamp === null ? [a, b] : clamped(a, b, o.svd_clamp);
}

/** Cuts values off at a quantile of all of them, between two of which it is on a line. */
function clamped(a: tf.Tensor2D, b: tf.Tensor2D, quantile: number): Halves {
  const sorted = Float32Array.from([...b.dataSync(), ...a.dataSync()]).sort();
  const at = quantile * (sorted.length - 1);
  const [low, share] = [sorted[Math.floor(at)], at - Math.floor(at)];
  const most = low + share * (sorted[Math.ceil(at)] - low);
  return [tf.minimum(tf.maximum(a, -most), most), tf.minimum(tf.maximum(b, -most), most)];
}

/** Several tensors as one: their weighted sum, of 'ties' (Yadav et al., 2023, https://arxiv.org/abs/2306.01708) the mean of those of the winning sign. */
function merged(tensors: tf.Tensor[], weights: number[], type: string, o: CombineOptions, random: Random): tf.Tensor {
  const pruned = tensors.map((tensor) => {
    if (type === 'linear' || o.density === 1) return tensor;
    return type.startsWith('dare') ? dropped(tensor, o.density as number, random) : largest(tensor, o.density as number);
  });
  const weighted = pruned.map((tensor, i) => tf.mul(tensor, weights[i]));
  if (!type.includes('ties')) return tf.addN(weighted);
  const signs = pruned.map((tensor) => tf.sign(tensor));
  const sum = tf.addN(o.majority_sign_method === 'total' ? pruned : signs);
  const winner = tf.sub(tf.mul(tf.cast(tf.greaterEqual(sum, 0), 'float32'), 2), 1);
  const agrees = signs.map((sign) => tf.cast(tf.equal(sign, winner), 'float32'));
  return tf.div(tf.addN(weighted.map((tensor, i) => tf.mul(tensor, agrees[i]))), tf.maximum(tf.addN(agrees), 1));
}

/** The share of largest values; zeros for the others. */
function largest(tensor: tf.Tensor, density: number): tf.Tensor {
  const values = tensor.dataSync();
  const kept = new Float32Array(values.length);
  const order = Array.from(values.keys()).sort((i, j) => Math.abs(values[j]) - Math.abs(values[i]));
  for (const i of order.slice(0, Math.trunc(density * values.length))) kept[i] = values[i];
  return tf.tensor(kept, tensor.shape);
}

/** A random share of the values, scaled up for the others (Yu et al., 2023, https://arxiv.org/abs/2311.03099). */
function dropped(tensor: tf.Tensor, density: number, random: Random): tf.Tensor {
  if (!density) return tf.zerosLike(tensor);
  return tf.tensor(
    Float32Array.from(tensor.dataSync(), (value) => (random.uniform() < density ? value / density : 0)),
    tensor.shape,
  );
}
