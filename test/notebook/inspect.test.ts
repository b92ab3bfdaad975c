import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect as show } from 'node:util';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { BitsAndBytesConfig, get_peft_model, inspect, LoraConfig } from '../../src/index';
import { AutoModelForCausalLM } from '../../src/models/auto';
import { ADAPTER_MIME, type AdapterData, adapterSummary, parseAdapter } from '../../views/src';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

async function tiny(options: object = {}) {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3, { hidden_size: 64, intermediate_size: 64 }), {
    progress: false,
    ...options,
  });
  // Both halves random, as after training.
  return get_peft_model(model, new LoraConfig({ r: 4, lora_alpha: 8, target_modules: 'all-linear', init_lora_weights: false }));
}

it('a model says the same of its adapter as the saved file does, and sets it against its weights', async () => {
  const model = await tiny();
  const folder = scratch('adapter');
  await model.save_pretrained(folder);
  const [beside, saved] = [await inspect(model), await inspect(folder)];
  expect(beside.modules).toHaveLength(14);
  const order = new Map(saved.modules.map((m) => [m.name, m]));
  for (const module of beside.modules) {
    const other = order.get(module.name)!;
    expect(other.singular.map((s, i) => s / module.singular[i])).toEqual(module.singular.map(() => expect.closeTo(1, 6)));
    expect(other.weight).toBeCloseTo(module.weight!, 4);
    const linear = [...model.base_model.namedModules()].find(([path]) => path === module.name)![1] as unknown as {
      weight: { dequantize(): tf.Tensor };
    };
    expect(module.weight).toBeCloseTo(
      tf.tidy(() => tf.norm(linear.weight.dequantize()).dataSync()[0]),
      3,
    );
  }
  expect([beside.data.total, saved.data.total]).toEqual(Array(2).fill(model.base_model.numParameters()));
  expect(saved.data.notes).toEqual([]);
  const bundle = beside.bundle();
  expect(Object.keys(bundle)).toEqual([ADAPTER_MIME, 'text/html', 'image/png', 'text/plain']);
  expect(parseAdapter(JSON.parse(JSON.stringify(bundle[ADAPTER_MIME])))).toMatchObject({ method: 'LORA' });
  expect(bundle['text/html']).not.toContain('<script');
  expect(show(beside)).toMatch(/^Adapter beside .*\nadapter: LORA beside 14 modules/);
});

const KINDS: [config: { peft_type: string; [option: string]: unknown }, rows: Record<string, RegExp>][] = [
  [
    { peft_type: 'IA3' },
    {
      'k_proj.ia3_l': /^2 of 32 values, norm 5\.657$/,
      'v_proj.ia3_l': /^2 of 32 values/,
      'down_proj.ia3_l': /^2 of 1 x 64, norm/,
      adapter: /^IA3 beside 6 modules of/,
    },
  ],
  [
    { peft_type: 'LN_TUNING' },
    {
      'input_layernorm.ln_tuning_layers.weight': /^2 of 64 values, norm/,
      'norm.ln_tuning_layers.weight': /^64 values/,
      adapter: /^LN_TUNING beside 5 modules of/,
    },
  ],
  [
    { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 3 },
    { prompt_embeddings: /^3 x 64, norm/, adapter: /^PROMPT_TUNING for/ },
  ],
  [
    { peft_type: 'LORA', r: 2, modules_to_save: ['norm'] },
    { 'norm.weight': /^64 values/, adapter: /^LORA beside 9 modules of/ },
  ],
];

it('every method is shown by what it adds, beside its model as from its files', async () => {
  const base = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3, { hidden_size: 64, intermediate_size: 64 }), {
    progress: false,
  });
  for (const [config, rows] of KINDS) {
    const name = config.peft_type;
    const peft = get_peft_model(base, config as never);
    const folder = scratch('adapter');
    await peft.save_pretrained(folder);
    const [beside, saved] = [await inspect(peft), await inspect(folder)];
    const trained = [...peft.namedParameters().values()].reduce((n, p) => n + p.tensor.size, 0);
    expect(
      beside.modules.reduce((n, m) => n + m.trained, 0),
      name,
    ).toBe(trained);
    const close = (m: (typeof beside.modules)[number]) => ({
      ...m,
      delta: expect.closeTo(m.delta, 4),
      weight: expect.anything(),
      singular: expect.anything(),
    });
    const told = (modules: typeof beside.modules) => modules.map((m) => ({ ...m, weight: m.weight ?? 0 }));
    expect(told(saved.modules), name).toEqual(told(beside.modules).map(close));
    expect(saved.data.notes, name).toEqual(beside.data.notes);
    expect(saved.data.notes.join(), name).toMatch(
      name === 'LORA' ? /^Some tensors of this adapter are no low-rank pairs/ : /^This method adds no update of low rank/,
    );
    for (const report of [beside, saved]) {
      const bundle = report.bundle();
      const shown = new Map(adapterSummary(parseAdapter(JSON.parse(JSON.stringify(bundle[ADAPTER_MIME]))) as AdapterData));
      for (const [label, text] of Object.entries(rows)) {
        expect(shown.get(label), `${name}: ${label}`).toMatch(text);
        expect(bundle['text/plain'], name).toContain(`${label}: ${shown.get(label)}`);
        expect(bundle['text/html'], name).toContain(label);
      }
      expect((bundle['image/png'] as string).length, name).toBeGreaterThan(1000);
    }
    peft.unload();
  }
  const prompt = get_peft_model(base, { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 3 } as never);
  await expect(inspect(prompt, { merge_check: 'a', tokenizer: tinyTokenizer() })).rejects.toThrow(
    /cannot be merged: a prompt has no place/,
  );
  base.dispose();
});

it('the base of a saved adapter is found by its name, or given; where it is not, the report says what to do', async () => {
  const model = await tiny();
  const folder = scratch('adapter');
  await model.save_pretrained(folder);
  const path = join(folder, 'adapter_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  const base = config.base_model_name_or_path as string;
  const named = (name: string | null) => writeFileSync(path, JSON.stringify({ ...config, base_model_name_or_path: name }));
  const other = await tinyLlama(3, { hidden_size: 32, intermediate_size: 64 });
  const none = tf.memory().numTensors;
  for (const [name, why] of [
    [
      'some/model',
      /^The base model is not at hand.*'some\/model' is not on this machine\. .*inspect\(folder, \{ base_model: '\.\.\.' \}\)/,
    ],
    [null, /does not name it\. .*base_model/],
    [other, /down_proj\.weight is \[32,64\], and the adapter updates one of \[64,64\].*base_model/],
  ] as const) {
    named(name);
    const report = await inspect(folder);
    expect(report.data.notes).toEqual([expect.stringMatching(why)]);
    expect(report.modules[0]).toMatchObject({ weight: null });
    const given = await inspect(folder, { base_model: base });
    expect(given.data.notes).toEqual([]);
    expect(given.modules.every(({ weight }) => weight! > 0)).toBe(true);
  }
  expect(tf.memory().numTensors).toBe(none);
  await expect(inspect(folder, { base_model: other })).rejects.toThrow(/trained beside another model/);
  await expect(inspect(folder, { base_model: 'some/model' })).rejects.toThrow(/No model 'some\/model' was found/);
  await expect(inspect(model, { base_model: base })).rejects.toThrow(/a model has its base beside it/);
});

it('growth over checkpoints and what two adapters share', async () => {
  const model = await tiny();
  const out = scratch('run');
  for (const step of [10, 20]) {
    for (const parameter of model.namedParameters().values()) parameter.assign(tf.keep(tf.mul(parameter.tensor, 2)));
    await model.save_pretrained(join(out, `checkpoint-${step}`));
  }
  const report = await inspect(out, { compare: join(out, 'checkpoint-10') });
  expect(report.data.name).toBe(join(out, 'checkpoint-20'));
  expect(report.data.history.map(({ step }) => step)).toEqual([10, 20]);
  const [a, b] = report.data.history;
  expect(b.deltas[0] / a.deltas[0]).toBeCloseTo(4, 5);
  for (const share of [...report.data.overlap!.reads, ...report.data.overlap!.writes]) expect(share).toBeCloseTo(1, 6);
});

it.each([
  ['fp32', {}],
  ['NF4', { quantization_config: new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' }) }],
])('the merge check on %s leaves the model as it was', async (_, options) => {
  const model = await tiny(options);
  const tokenizer = tinyTokenizer();
  const ids = tf.tensor2d([tokenizer.encode('What is it?')], undefined, 'int32');
  const logits = () => Array.from(tf.tidy(() => model.base_model.forward(ids).dataSync()));
  const before = logits();
  const { merge } = (await inspect(model, { merge_check: 'What is it?', tokenizer })).data;
  expect(logits()).toEqual(before);
  expect(merge).toMatchObject({ format: 'bf16', tokens: ids.shape[1] });
  expect(merge!.drift).toBeGreaterThan(0);
  expect(merge!.drift).toBeLessThan(merge!.spread);
});

it('what cannot be inspected is refused with what to do', async () => {
  await expect(inspect(scratch('empty'))).rejects.toThrow(/has no adapter_model.safetensors.*save_model/);
  await expect(inspect(7 as never)).rejects.toThrow(/takes a model with an adapter.*or the folder/);
  const model = await tiny();
  await expect(inspect(model, { merge_check: 'x' })).rejects.toThrow(/merge_check needs a text, the model/);
  await expect(inspect(model, { mergeCheck: 'x' })).rejects.toThrow(/Did you mean merge_check/);
  const folder = scratch('other');
  await model.save_pretrained(folder);
  writeFileSync(join(folder, 'adapter_config.json'), '{');
  await expect(inspect(folder)).rejects.toThrow(/is not JSON/);
});
