import { OptionError } from '../core/errors';
import { checkNumber, show } from '../core/options';
import type { PretrainedModel } from '../models/pretrained';
import { LayerNorm } from '../nn';
import { PREFIX } from '../peft/adapter';
import { baseOf, PeftModel } from '../peft/model';
import type { TrainedModel } from './gradients';
import type { TrainingOptions } from './options';

/** Some of the trained tensors, and how they are stepped; names and values as in torch's parameter groups. */
export interface ParamGroup {
  /** A regular expression, or several, searched for in the tensors' names: 'layers\\.[0-5]\\.' */
  params: string | string[];
  /** The peak of their rate; the schedule's curve is multiplied with it. */
  lr?: number;
  weight_decay?: number;
}

/** How a tensor of this name is stepped: its share of the schedule's rate, and what decays of it. */
export type GroupOf = (name: string) => { rate: number; weight_decay: number };

type Options = Pick<
  TrainingOptions,
  'learning_rate' | 'weight_decay' | 'loraplus_lr_ratio' | 'loraplus_lr_embedding' | 'layerwise_lr_decay' | 'param_groups'
>;

/** Names of which nothing decays, as transformers' Trainer has them, and DoRA's magnitudes, which would shrink what the base model does. */
const STILL = /bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)|lora_magnitude_vector/;

/** The number of the layer that a tensor is in; undefined beside the layers. */
export const layerOf = (name: string): number | undefined => {
  const found = name.match(/(?:^|\.)(?:layers|h)\.(\d+)\./);
  return found ? Number(found[1]) : undefined;
};

/** Whether a tensor is of what stands before the layers. */
export const isBelow = (name: string): boolean => /(?:^|\.)(?:embed_tokens|wte|wpe)\.|prompt_embeddings/.test(name);

const within = (of: ParamGroup) => {
  const patterns = [of.params].flat().map((text) => new RegExp(text));
  return (name: string) => patterns.some((pattern) => pattern.test(name));
};

/** Fails where groups cannot be meant. */
export function checkGroups(owner: string, o: Options): void {
  const { loraplus_lr_ratio: ratio, layerwise_lr_decay: decay } = o;
  if (ratio !== null)
    checkNumber(owner, 'loraplus_lr_ratio', ratio, { above: 0 }, 'It is how many times faster B learns than A: 16 is usual.');
  checkNumber(owner, 'loraplus_lr_embedding', o.loraplus_lr_embedding, { above: 0 }, '1e-6 is usual.');
  if (decay !== null)
    checkNumber(
      owner,
      'layerwise_lr_decay',
      decay,
      { above: 0, max: 1 },
      'Each layer has this share of the rate of the one above it: 0.9, say.',
    );
  if (!Array.isArray(o.param_groups))
    throw new OptionError(`${owner}: param_groups must be a list of { params, lr, weight_decay }, but is ${show(o.param_groups)}.`);
  for (const [i, group] of o.param_groups.entries()) {
    const where = `param_groups[${i}]`;
    const { params, lr, weight_decay, ...others } = (group ?? {}) as ParamGroup;
    const texts = [params].flat();
    if (!texts.length || !texts.every((text) => typeof text === 'string' && text) || Object.keys(others).length)
      throw new OptionError(
        `${owner}: ${where} must be { params, lr, weight_decay } with params a regular expression for names, or several, but is ${show(group)}.`,
      );
    if (lr !== undefined) checkNumber(owner, `${where}.lr`, lr, { min: 0 }, 'It is the peak of their rate.');
    if (weight_decay !== undefined) checkNumber(owner, `${where}.weight_decay`, weight_decay, { min: 0 }, '0 switches it off.');
    for (const text of texts)
      try {
        new RegExp(text);
      } catch (error) {
        throw new OptionError(`${owner}: ${where}.params has ${show(text)}, which is no regular expression (${(error as Error).message}).`);
      }
  }
}

/**
 * How the trained tensors of a model are stepped. What decays is what decays in transformers (by names, and no LayerNorm); LoRA+ is as PEFT's
 * create_loraplus_optimizer has it. An OptionError where an option fits no tensor.
 */
export function groupsOf(o: Options, model: TrainedModel): GroupOf {
  const base = baseOf<PretrainedModel>(model);
  const norms = [...base.namedModules()].flatMap(([path, module]) => (module instanceof LayerNorm ? [`${path}.`] : []));
  const inNorm = (name: string) => norms.some((path) => (name.split(PREFIX).at(-1) as string).startsWith(path));
  const names = [...model.namedParameters().keys()];
  const groups = o.param_groups.map((group) => [within(group), group] as const);
  for (const [has, { params }] of groups)
    if (!names.some(has))
      throw new OptionError(`param_groups: no trained tensor has ${show(params)} in its name. There are ${some(names)}.`);
  const { loraplus_lr_ratio: ratio, layerwise_lr_decay: lower } = o;
  if (ratio !== null && !names.some((name) => name.includes('lora_B')))
    throw new OptionError(
      `loraplus_lr_ratio = ${ratio} is for the pairs of a LoRA adapter, but none is trained${model instanceof PeftModel ? '' : ': there is no adapter'}.`,
    );
  const layers = base.config.num_hidden_layers;
  const usual = (name: string) => {
    const isVector = (model.namedParameters().get(name)?.shape.length ?? 2) < 2;
    if (ratio === null) return { rate: 1, weight_decay: STILL.test(name.toLowerCase()) || inNorm(name) ? 0 : o.weight_decay };
    if (name.includes('lora_embedding_')) return { rate: o.loraplus_lr_embedding / o.learning_rate, weight_decay: o.weight_decay };
    const isFast = name.includes('lora_B') || isVector;
    const isStill = isFast && (name.includes('bias') || inNorm(name) || name.includes('lora_magnitude_vector'));
    return { rate: isFast ? ratio : 1, weight_decay: isStill ? 0 : o.weight_decay };
  };
  const share = (name: string) => {
    if (lower === null) return 1;
    const depth = isBelow(name) ? layers : layers - 1 - (layerOf(name) ?? layers - 1);
    return lower ** depth;
  };
  const known = new Map<string, ReturnType<GroupOf>>();
  return (name) => {
    const before = known.get(name);
    if (before) return before;
    const { rate, weight_decay } = usual(name);
    const own = groups.find(([has]) => has(name))?.[1];
    const group = {
      rate: own?.lr === undefined ? rate * share(name) : own.lr / o.learning_rate,
      weight_decay: own?.weight_decay ?? weight_decay,
    };
    known.set(name, group);
    return group;
  };
}

const some = (names: string[]): string => `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;
