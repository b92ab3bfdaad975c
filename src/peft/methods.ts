// The PEFT methods: one line each.
export { AdaLoraConfig } from './adalora';
export { BOFTConfig } from './boft';
export { FourierFTConfig } from './fourierft';
export { HRAConfig } from './hra';
export { IA3Config } from './ia3';
export { LNTuningConfig } from './ln_tuning';
export { LoHaConfig } from './loha';
export { LoKrConfig } from './lokr';
export { LoraConfig } from './lora';
export { MissConfig } from './miss';
export { OFTConfig } from './oft';
export { PromptTuningConfig } from './prompt_tuning';
export { VeraConfig } from './vera';
