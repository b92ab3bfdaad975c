export { granite } from './granite';
export { llama } from './llama';
export { mistral } from './mistral';
export { phi3 } from './phi3';
export { qwen2 } from './qwen2';
export { qwen3 } from './qwen3';
export { smollm3 } from './smollm3';
