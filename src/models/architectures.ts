export { llama } from './llama';
export { mistral } from './mistral';
export { qwen2 } from './qwen2';
