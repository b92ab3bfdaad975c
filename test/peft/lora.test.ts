import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { on } from '../../src/core/events';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, get_peft_model, LoraConfig, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { printed, scratch, tinyLlama } from '../tiny';

let model: CausalLM;
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(), { progress: false });
});
const ids = () => tf.tensor2d([[1, 2, 3, 4, 5]], [1, 5], 'int32');
const logits = () => Array.from(model.forward(ids()).dataSync());

it('refuses bad options with a remedy', () => {
  for (const r of [0, -1, 1.5, Number.NaN]) expect(() => new LoraConfig({ r })).toThrow(/r must be a whole number of at least 1, but is/);
  expect(() => new LoraConfig({ loraAlpha: 4 })).toThrow(/Did you mean lora_alpha/);
  expect(() => new LoraConfig({ lora_dropout: 1 })).toThrow(/lora_dropout must be a number of at least 0 below 1/);
  expect(() => new LoraConfig({ bias: 'all' })).toThrow(/use 'none'/);
  expect(() => new LoraConfig({ use_qalora: true })).toThrow(/use_qalora = true is an option of PEFT that tunebook does not have yet/);
});

it('every entry of target_modules must match; the names that exist are listed', () => {
  const attach = (target_modules: string | string[]) => get_peft_model(model, new LoraConfig({ target_modules }));
  expect(() => attach(['q_proj', 'qproj'])).toThrow(
    /'qproj' match no module of the model.*q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.*Did you mean 'q_proj'/,
  );
  expect(() => attach([])).toThrow(/target_modules is empty/);
  expect(() => attach('(')).toThrow(/not a regular expression/);
  const counts = Object.fromEntries(
    [null, 'all-linear', ['q_proj'], String.raw`.*layers\.1\..*(q|v)_proj`].map((target) => {
      const peft = get_peft_model(model, new LoraConfig({ target_modules: target as string }));
      const n = peft.namedParameters().size / 2;
      peft.unload();
      return [String(target), n];
    }),
  );
  expect(Object.values(counts)).toEqual([4, 14, 2, 2]);
});

it('starts as the base model, changes with B, and can be switched off and taken off', async () => {
  const before = logits();
  const peft = get_peft_model(model, new LoraConfig({ r: 4, target_modules: 'all-linear' }));
  expect(logits()).toEqual(before);
  for (const [name, p] of peft.namedParameters())
    if (name.includes('lora_B')) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, 0.5, 'float32', 3)));
  const changed = logits();
  expect(changed).not.toEqual(before);
  expect(await peft.disable_adapter(() => logits())).toEqual(before);
  expect(logits()).toEqual(changed);
  peft.unload();
  expect(logits()).toEqual(before);
});

it('a new adapter takes the place of the one that the model wears; where it cannot be made, that one stays', async () => {
  const before = logits();
  const first = get_peft_model(model, new LoraConfig({ r: 4, target_modules: 'all-linear' }));
  for (const [name, p] of first.namedParameters())
    if (name.includes('lora_B')) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, 0.5, 'float32', 3)));
  const folder = scratch('worn');
  await first.save_pretrained(folder);
  const changed = logits();
  expect(() => get_peft_model(model, new LoraConfig({ target_modules: ['q_porj'] }))).toThrow(/match no module/);
  const broken = scratch('broken');
  writeFileSync(join(broken, 'adapter_config.json'), readFileSync(join(folder, 'adapter_config.json')));
  writeFileSync(join(broken, 'adapter_model.safetensors'), 'no tensors');
  await expect(PeftModel.from_pretrained(model, broken)).rejects.toThrow();
  expect(logits()).toEqual(changed);

  const held = tf.memory().numTensors;
  let second = first;
  let said = '';
  const off = on('progress', ({ text }) => {
    said += text;
  });
  second = get_peft_model(model, new LoraConfig({ r: 4, target_modules: 'all-linear' }));
  off();
  expect(said).toMatch(/^A LoRA adapter \(r = 4.*\) was on the model: the new one takes its place/);
  expect(tf.memory().numTensors).toBe(held);
  expect(logits()).toEqual(before);
  expect(() => first.set_adapter('default')).toThrow(/taken off its model/);
  expect(() => first.add_adapter('more', new LoraConfig())).toThrow(/wears another one now/);
  first.unload();

  await second.merge_adapter();
  const third = await PeftModel.from_pretrained(model, folder);
  expect(logits()).toEqual(changed);
  third.unload();
  expect(logits()).toEqual(before);
});

it('saves and loads, and names tensors that do not fit', async () => {
  const peft = get_peft_model(
    model,
    new LoraConfig({ r: 4, lora_alpha: 16, target_modules: ['q_proj', 'down_proj'], rank_pattern: { down_proj: 2 } }),
    { seed: 5 },
  );
  for (const [name, p] of peft.namedParameters())
    if (name.includes('lora_B')) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, 0.5, 'float32', 3)));
  const expected = logits();
  const folder = scratch('adapter');
  await peft.save_pretrained(folder);
  peft.unload();
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
  expect(config).toMatchObject({
    peft_type: 'LORA',
    r: 4,
    lora_alpha: 16,
    inference_mode: true,
    base_model_name_or_path: model.config._name_or_path,
  });
  const again = await PeftModel.from_pretrained(model, folder);
  expect(logits()).toEqual(expected);
  again.unload();
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, target_modules: ['q_proj', 'k_proj'] }));
  await expect(PeftModel.from_pretrained(model, folder)).rejects.toThrow(
    /Missing: 4 tensors, such as base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight.*Unexpected: 4/,
  );
  expect(() => get_peft_model(model, new LoraConfig()).unload()).not.toThrow();
  await expect(PeftModel.from_pretrained(model, scratch())).rejects.toThrow(/has no adapter_config.json/);
});

it('counts parameters as PEFT prints them', () => {
  const peft = get_peft_model(model, new LoraConfig({ r: 4, target_modules: ['q_proj'] }));
  expect(printed(() => peft.print_trainable_parameters())).toMatch(
    /^trainable params: 512 \|\| all params: [\d,]+ \|\| trainable%: \d+\.\d{4}$/,
  );
  expect(peft.get_nb_trainable_parameters()).toEqual([512, 512 + model.numParameters()]);
  peft.unload();
});
