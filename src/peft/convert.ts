import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { svd } from '../engine/decompose';
import * as tf from '../engine/tf';
import { type Adaptable, Embedding } from '../nn';
import { ModuleAdapter } from './adapter';
import { type Combined, gathered } from './combine';
import { LinearTerm } from './linear_term';
import { LoraConfig } from './lora';
import { addedBy } from './merge';
import type { Part } from './part';

/** LoRA instead of another method, and what that loses. */
export interface Converted extends Combined {
  /** Of the squared values of all updates the share that the pairs leave out. */
  lost: number;
  /** The same by module. */
  lostBy: Record<string, number>;
}

/** The best pairs of this rank for what an adapter adds to each matrix; a rank below 1 is the share of its squared values that has to stay. */
export function converted(name: string, { config, adapters }: Part, rank: number): Converted {
  const fail = (text: string): never => {
    throw new OptionError(`convert_to_lora: ${text}`);
  };
  if (!(rank > 0) || (rank > 1 && !Number.isInteger(rank)))
    fail(`rank is ${show(rank)}; it is a whole number, or the share of the updates that stays (0.9).`);
  const [made, ...whole] = adapters;
  if (!(made instanceof ModuleAdapter) || made.unmergeable || [...made.terms.values()].some(({ term }) => !(term instanceof LinearTerm)))
    fail(`${show(name)} is ${config.summary}, which is no update of matrices: LoRA cannot do the same.`);
  if (whole.length) fail(`${show(name)} has modules that are trained whole (modules_to_save). Merge them, or leave them out.`);
  const terms = [...(made as ModuleAdapter<LinearTerm>).terms].map(([path, { module, term }]) => ({
    path,
    layer: module as Adaptable,
    term,
  }));
  for (const { path, layer, term } of terms) {
    if (term.movesBias) fail(`${show(name)} changes the bias of ${path}, which LoRA does not.`);
    const most = Math.min(...layer.weight.shape);
    if (rank > most) fail(`rank is ${rank}, but the matrix of ${path} is [${layer.weight.shape}]. Choose ${most} or less.`);
  }
  const lostBy: Record<string, number> = {};
  let [all, gone] = [0, 0];
  const pairOf = (layer: Adaptable, term: LinearTerm, path: string) => {
    const delta = addedBy(layer, term.standing);
    const { u, s, v } = svd(layer instanceof Embedding ? tf.transpose(delta) : delta);
    const energy = Array.from(s.dataSync(), (value) => value * value);
    const total = energy.reduce((sum, value) => sum + value, 0);
    const r = rank >= 1 ? rank : reaching(energy, rank * total);
    const left = energy.slice(r).reduce((sum, value) => sum + value, 0);
    [all, gone] = [all + total, gone + left];
    lostBy[path] = total ? left / total : 0;
    return [tf.transpose(tf.slice(v, [0, 0], [-1, r])), tf.mul(tf.slice(u, [0, 0], [-1, r]), tf.slice(s, 0, r))];
  };
  const pairs = gathered((found) => {
    for (const { path, layer, term } of terms) {
      const [a, b] = tf.tidy(() => pairOf(layer, term, path));
      found.set(path, { a: tf.keep(a), b: tf.keep(b) });
    }
  });
  const ranks = Object.fromEntries([...pairs].map(([path, { a }]) => [path, a.shape[0]]));
  const r = rank >= 1 ? rank : Math.max(...Object.values(ranks));
  const others = Object.fromEntries(Object.entries(ranks).filter(([, own]) => own !== r));
  const { task_type, base_model_name_or_path } = config as unknown as Record<string, never>;
  const patterns = { rank_pattern: others, alpha_pattern: others };
  const options = { r, lora_alpha: r, target_modules: [...pairs.keys()], ...patterns, task_type, base_model_name_or_path };
  return { config: new LoraConfig(options), pairs, lost: all ? gone / all : 0, lostBy };
}

/** How many of these come to the whole. */
function reaching(energy: number[], whole: number): number {
  let sum = 0;
  const at = energy.findIndex((value) => {
    sum += value;
    return sum >= whole;
  });
  return at < 0 ? energy.length : at + 1;
}
