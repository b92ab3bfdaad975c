// The PEFT methods: one line each.
export { LoraConfig } from './lora';
