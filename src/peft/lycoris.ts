import { checkNumber } from '../core/options';
import type { Field } from './fields';
import { COMMON, type CommonOptions } from './method';
import { ALPHA, checkPatterns, type Patterns, RANK } from './ranks';
import { NO_TARGETS, type Targets } from './targets';

/** Options that LoHa and LoKr share, under PEFT's names. */
export interface LycorisOptions extends CommonOptions, Targets, Patterns {
  /** Rank of the factors. Default: 8. */
  r: number;
  /** The update is scaled by alpha / r. Default: 8. */
  alpha: number;
}

export const LYCORIS: LycorisOptions = { ...COMMON, ...NO_TARGETS, r: 8, alpha: 8, rank_pattern: {}, alpha_pattern: {} };

/** What PEFT has beyond that. */
export const LYCORIS_FIELDS: Record<string, Field> = {
  rank_dropout: { unused: 0, would: 'drop rows of the update while training' },
  module_dropout: { unused: 0, would: 'leave whole modules out while training' },
  use_effective_conv2d: { unused: false }, // of convolutions
};

export function checkLycoris(owner: string, o: LycorisOptions): void {
  checkNumber(owner, 'r', o.r, { integer: true, min: 1 }, RANK);
  checkNumber(owner, 'alpha', o.alpha, { above: 0 }, ALPHA);
  checkPatterns(owner, o);
}
