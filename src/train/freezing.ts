import { nearest, OptionError } from '../core/errors';
import { show } from '../core/options';
import { Weight } from '../engine/weights';
import type { PretrainedModel } from '../models/pretrained';
import { PeftModel } from '../peft/model';
import type { TrainedModel } from './gradients';

/**
 * What of a model: parts of names between dots, with ranges and wildcards ('lm_head', 'layers.0-5', 'layers.12-', 'layers.*.mlp'), a regular
 * expression that is searched for in names, or several of these.
 */
export type Which = string | RegExp | readonly (string | RegExp)[];

/** One part of a pattern: a range of numbers, or a text in which * stands for anything. */
function partOf(part: string): (text: string) => boolean {
  const range = part.match(/^(\d*)-(\d*)$/);
  if (range && part !== '-') {
    const [from, to] = [Number(range[1] || 0), range[2] ? Number(range[2]) : Number.POSITIVE_INFINITY];
    return (text) => /^\d+$/.test(text) && Number(text) >= from && Number(text) <= to;
  }
  const pattern = new RegExp(`^${part.replace(/[\\^$.|+?()[\]{}]/g, '\\$&').replaceAll('*', '.*')}$`);
  return (text) => pattern.test(text);
}

/** Whether names fit: the parts of a text stand one behind another somewhere in them. */
function matcher(which: string | RegExp): (name: string) => boolean {
  if (which instanceof RegExp) return (name) => name.search(which) >= 0;
  const parts = which.split('.').map(partOf);
  return (name) => {
    const words = name.split('.');
    return words.some((_, at) => parts.every((fits, i) => at + i < words.length && fits(words[at + i])));
  };
}

/** A tensor that can be frozen: how many values it has, how to do it, and why it cannot be trained where that is so. */
interface Freezable {
  size: number;
  set(wanted: boolean): void;
  packed?: string;
}

function tensorsOf(model: TrainedModel): Map<string, Freezable> {
  if (model instanceof PeftModel)
    return new Map(
      [...model.ownParameters()].map(([name, p]) => {
        const set = (wanted: boolean) => {
          p.requires_grad = wanted;
        };
        return [name, { size: p.tensor.size, set }] as const;
      }),
    );
  const base: PretrainedModel = model;
  return new Map(
    [...base.namedModules()].flatMap(([path, module]) =>
      [...module.ownTensors()].map(([field, tensor]) => {
        const isPacked = tensor instanceof Weight && (tensor.format.block > 1 || tensor.format.rowHead);
        const set = (wanted: boolean) => module.requireGrad(field, wanted);
        const size = tensor.shape.reduce((a, b) => a * b, 1);
        return [path ? `${path}.${field}` : field, { size, set, ...(isPacked && { packed: tensor.format.name }) }] as const;
      }),
    ),
  );
}

function change(owner: string, model: TrainedModel, which: Which | undefined, wanted: boolean): number {
  const tensors = tensorsOf(model);
  const chosen = new Map<string, Freezable>();
  for (const one of which === undefined ? [/^/] : ([which].flat() as (string | RegExp)[])) {
    if (!(one instanceof RegExp) && (typeof one !== 'string' || !one))
      throw new OptionError(
        `${owner} takes names ('lm_head', 'layers.0-5'), regular expressions or lists of these, but was given ${show(one)}.`,
      );
    const fits = matcher(one);
    const found = [...tensors].filter(([name]) => fits(name));
    if (!found.length) {
      const words = new Set([...tensors.keys()].flatMap((name) => name.split('.')).filter((word) => !/^\d+$/.test(word)));
      const guess = typeof one === 'string' ? nearest(one, words) : undefined;
      throw new OptionError(
        `${owner}: no tensor of the model has ${one instanceof RegExp ? one : show(one)} in its name. ${guess && guess !== one ? `Did you mean ${guess}? ` : ''}` +
          `There are ${[...words].join(', ')}${one === 'lm_head' ? ' (a head that is tied to the embedding table has no matrix of its own)' : ''}.`,
      );
    }
    for (const [name, tensor] of found) chosen.set(name, tensor);
  }
  const packed = wanted && [...chosen].find(([, tensor]) => tensor.packed);
  if (packed)
    throw new OptionError(
      `${owner}: ${packed[0]} is packed as ${packed[1].packed} and cannot be trained itself. Load the model with dtype: 'float32' and without quantization_config, or put an adapter beside it.`,
    );
  for (const { set } of chosen.values()) set(wanted);
  return [...chosen.values()].reduce((n, { size }) => n + size, 0);
}

/**
 * Freezes parts of a model, or all of it: they are not trained. Of a model with adapters it is these that are frozen. Returns how many values
 * it was; an OptionError where nothing has such a name. `unfreeze` is the opposite.
 */
export const freeze = (model: TrainedModel, which?: Which): number => change('freeze', model, which, false);

/** Trains parts of a model, or all of it, from the next step on; see `freeze`. Weights that are packed in few bits cannot be. */
export const unfreeze = (model: TrainedModel, which?: Which): number => change('unfreeze', model, which, true);
