import { OptionError } from '../core/errors';
import { emit } from '../core/events';
import { readOptions, show } from '../core/options';
import type * as tf from '../engine/tf';
import { resolveAdapter } from '../hub/resolve';
import { HUB_DEFAULTS, type HubOptions } from '../hub/settings';
import { type Combined, type CombineOptions, combine, freePairs } from './combine';
import { configIn } from './configs';
import { type Converted, converted } from './convert';
import { refuseHeld } from './hold';
import type { LoraConfig } from './lora';
import { pairsIn } from './lora_term';
import { MergingAdapters } from './merging';
import type { BaseModel, PeftConfig } from './method';

/** Where an adapter is found. */
export type Find = Partial<HubOptions> & Record<string, unknown>;

/** A model's adapters, and how one becomes of several, or of another method's. */
export abstract class CombiningAdapters<M extends BaseModel> extends MergingAdapters<M> {
  abstract add_adapter(name: string, config: PeftConfig): void;
  abstract load_adapter(nameOrPath: string, name: string, find?: Find): Promise<void>;
  abstract set_adapter(names: string | string[]): void;
  abstract delete_adapter(name: string): void;

  /**
   * Puts another adapter beside the ones there are: several LoRA adapters, each by its weight, worked into one, as in PEFT. `set_adapter` makes it answer.
   */
  add_weighted_adapter(
    adapters: string[],
    weights: number[],
    adapter_name: string,
    options: Partial<CombineOptions> & Record<string, unknown> = {},
  ): void {
    const { config, pairs } = combine(new Map(adapters.map((name) => [name, this.parts.get(name)])), weights, options);
    this.addPairs(adapter_name, config, pairs);
  }

  /**
   * Puts a LoRA adapter beside the ones there are that does, as nearly as its rank allows, what an adapter of another method does: of any that changes matrices. `rank`: a
   * whole number, or the share of the updates' squared values that stays (0.9). Says and returns what share is lost.
   */
  convert_to_lora(
    rank: number,
    { adapter_name = this.active_adapter, to = 'lora' }: { adapter_name?: string; to?: string } = {},
  ): Pick<Converted, 'lost' | 'lostBy'> {
    const { config, pairs, lost, lostBy } = converted(adapter_name, this.parts.get(adapter_name), rank);
    this.addPairs(to, config, pairs);
    const text = `${show(adapter_name)} as LoRA, ${show(to)}: ${(100 * lost).toPrecision(3)} % of the squared values of its updates are lost.`;
    emit('progress', { id: 'adapter', text, done: true });
    return { lost, lostBy };
  }

  private addPairs(name: string, config: LoraConfig, pairs: Combined['pairs']): void {
    try {
      this.add_adapter(name, config);
    } catch (error) {
      freePairs(pairs);
      throw error;
    }
    for (const [path, { a, b }] of pairsIn(this.parts.get(name).adapters)) {
      a.assign((pairs.get(path) as { a: tf.Tensor }).a);
      b.assign((pairs.get(path) as { b: tf.Tensor }).b);
    }
  }

  /** Loads an adapter in the place of one that there is, under its name and as active as that; where it cannot be loaded, that one stays. */
  async hotswap_adapter(nameOrPath: string, adapter_name: string = this.active_adapter, find: Find = {}): Promise<void> {
    const { config: before } = this.parts.get(adapter_name);
    const folder = await resolveAdapter(nameOrPath, readOptions('hotswap_adapter', find, HUB_DEFAULTS));
    const { peft_type } = await configIn(folder, this.base_model);
    if (peft_type !== before.peft_type)
      throw new OptionError(
        `hotswap_adapter: ${show(adapter_name)} is of ${show(before.peft_type)}, but ${folder} of ${show(peft_type)}. Use load_adapter.`,
      );
    const passing = `${adapter_name} (new)`;
    await this.load_adapter(folder, passing, find);
    const { active } = this.parts;
    try {
      refuseHeld(this.base_model, 'hotswap_adapter');
      this.refuseMerged('hotswap_adapter');
      this.parts.refuseClash(
        active.map((name) => (name === adapter_name ? passing : name)),
        'hotswap_adapter',
      );
    } catch (error) {
      this.parts.delete(passing);
      throw error;
    }
    this.delete_adapter(adapter_name);
    this.parts.rename(passing, adapter_name);
    this.set_adapter(active);
  }
}
