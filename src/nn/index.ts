export { Embedding, RMSNorm } from './layers';
export { Linear, type LowRank } from './linear';
export { dropoutSeed, training } from './mode';
export { Module, Parameter } from './module';
export { inverseFrequencies, type RopeParameters, rotaryTables } from './rotary';
