// The notebooks' exercises: a line each. `check.loraParameters(answer)` says whether an answer is right; `.hint()` and `.solution()` help.
export { loraParameters } from './lora_parameters';
export { mergedWeight } from './merged_weight';
export { rankForEnergy } from './rank_for_energy';
