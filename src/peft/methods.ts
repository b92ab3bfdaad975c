// The PEFT methods: one line each.
export { IA3Config } from './ia3';
export { LNTuningConfig } from './ln_tuning';
export { LoHaConfig } from './loha';
export { LoKrConfig } from './lokr';
export { LoraConfig } from './lora';
export { MissConfig } from './miss';
export { PromptTuningConfig } from './prompt_tuning';
export { VeraConfig } from './vera';
