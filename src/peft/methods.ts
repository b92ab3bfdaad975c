// The PEFT methods: one line each.
export { IA3Config } from './ia3';
export { LoraConfig } from './lora';
