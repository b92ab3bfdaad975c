import { OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { sparing } from '../engine/plain_error';
import { refuseHeld } from './hold';
import { MERGE_DEFAULTS, Merged, type MergeOptions, mergeForGood } from './merge';
import type { BaseModel } from './method';
import { SavedAdapters } from './saved_adapters';

/** A model's adapters, and whether they are worked into its weights. */
export abstract class MergingAdapters<M extends BaseModel> extends SavedAdapters<M> {
  private merged?: Merged;

  /** Takes all adapters off the base model and frees them. */
  abstract unload(): M;

  protected refuseMerged(what: string): void {
    if (this.merged) throw new OptionError(`${what}: adapters are merged into the weights. Call unmerge_adapter() first.`);
  }

  /**
   * Merges the active adapters into the weights, in 16 or 32 bits: a 4-bit matrix is unpacked for it, and packed again only where
   * `quantization_config` says so. `unmerge_adapter` takes it back.
   */
  async merge_adapter(options: MergeOptions = {}): Promise<void> {
    if (this.merged) return;
    this.checkMergeable();
    const how = readOptions('merge_adapter', options, MERGE_DEFAULTS);
    this.merged = await sparing('merging', () => Merged.into(this.base_model, how));
  }

  /** Whether adapters are merged into the weights for now. */
  get isMerged(): boolean {
    return this.merged !== undefined;
  }

  unmerge_adapter(): void {
    this.merged?.undo();
    this.merged = undefined;
  }

  /**
   * Merges the active adapters into the weights for good and gives back the base model; says how far the largest logit moved, since
   * merged weights are rounded. They are kept in 16 or 32 bits, and packed again only where `quantization_config` says so.
   */
  async merge_and_unload(options: MergeOptions = {}): Promise<M> {
    const how = readOptions('merge_and_unload', options, MERGE_DEFAULTS);
    this.checkMergeable();
    this.unmerge_adapter();
    const keep: Parameters<typeof mergeForGood>[2] = async (into) => {
      for (const part of this.parts.attached) await part.keep(into);
      return () => this.unload();
    };
    await sparing('merging', () => mergeForGood(this.base_model, how, keep));
    return this.base_model;
  }

  protected checkMergeable(): void {
    refuseHeld(this.base_model, 'merge');
    if (this.parts.isOff) throw new OptionError('Adapters are disabled; merge them outside of disable_adapter.');
    for (const name of this.parts.active) {
      const { unmergeable } = this.parts.get(name);
      if (unmergeable) throw new OptionError(`The adapter ${show(name)} cannot be merged: ${unmergeable}`);
    }
  }
}
