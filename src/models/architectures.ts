export { llama } from './llama';
export { mistral } from './mistral';
