// The optimizers: one line each.
export { adafactor } from './adafactor';
export { adamw } from './adamw';
export { lion } from './lion';
export { sgd } from './sgd';
