import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM } from '../../src/index';
import { Linear } from '../../src/nn';
import { tinyLlama } from '../tiny';

it('modules and values are found by their names, as in torch', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
  const path = 'model.layers.1.self_attn.q_proj';
  const layer = model.get_submodule(path) as Linear;
  expect(layer).toBeInstanceOf(Linear);
  expect(model.get_submodule('')).toBe(model);
  const before = tf.memory().numTensors;
  const values = model.get_parameter(`${path}.weight`);
  expect(values.shape).toEqual([layer.outFeatures, layer.inFeatures]);
  const norm = model.get_parameter('model.norm.weight');
  tf.dispose([values, norm]);
  expect(tf.memory().numTensors).toBe(before);
  expect(() => model.get_submodule('model.layers.1.self_atn.q_proj')).toThrow(
    /no module .*Did you mean 'model\.layers\.1\.self_attn\.q_proj'/,
  );
  expect(() => model.get_parameter(path)).toThrow(/no tensor .*Did you mean 'model\.layers\.\d\.self_attn\.[a-z]_proj\.weight'/);
});
