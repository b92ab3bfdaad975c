// The optimizers: one line each.
export { adamw } from './adamw';
