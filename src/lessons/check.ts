/** Exercises of the notebooks, a line each: `check.loraParameters(answer)` says what an answer lacks; `.hint()` and `.solution()` help. */
export { loraParameters } from './lora_parameters';
export { mergedWeight } from './merged_weight';
export { rankForEnergy } from './rank_for_energy';
