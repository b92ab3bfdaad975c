import type * as tf from '../engine/tf';
import type { PeftModel } from './model';

/** The trained tensors of a model's active adapter, by the names that PEFT saves them under. They are the adapter's own: not to be disposed. */
export const get_peft_model_state_dict = (model: PeftModel): Record<string, tf.Tensor> =>
  Object.fromEntries([...model.namedParameters()].map(([name, { tensor }]) => [name, tensor]));
