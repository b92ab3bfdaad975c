// The PEFT methods: one line each.
export { IA3Config } from './ia3';
export { LNTuningConfig } from './ln_tuning';
export { LoraConfig } from './lora';
export { PromptTuningConfig } from './prompt_tuning';
