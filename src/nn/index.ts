export { ACTIVATIONS, plannedActivation, printedActivation } from './activations';
export { KeyValueCache } from './key_value_cache';
export { Embedding, LayerNorm, RMSNorm } from './layers';
export { type Adaptable, Conv1D, Linear, type LowRank, TiedLinear } from './linear';
export { dropoutSeed, training } from './mode';
export { type Matrix, Module, Parameter } from './module';
export { readParameters, writable, writeTensors } from './parameters';
export { type LearnedPrompt, Prompted } from './prompt';
export { type RopeConfig, type RopeParameters, rotaryTables, rotation, STILL } from './rotary';
