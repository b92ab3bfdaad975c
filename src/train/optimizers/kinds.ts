// The optimizers: one line each.
export { adafactor } from './adafactor';
export { adamw } from './adamw';
