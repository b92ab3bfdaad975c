// What supervised fine-tuning can learn by, under the values of `loss_type`: one line each.
export { dft } from './dft';
export { sft as nll } from './sft';
