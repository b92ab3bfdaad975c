import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import { MatrixWriter } from '../../src/engine/matrix_writer';
import * as tf from '../../src/engine/tf';
import {
  AutoModelForCausalLM,
  BitsAndBytesConfig,
  Dataset,
  generate,
  get_peft_model,
  PeftModel,
  SFTConfig,
  SFTTrainer,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { PeftConfig } from '../../src/peft/method';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { CASES, names } from './cases';

const SHAPE = { hidden_size: 64, intermediate_size: 128 };
const rows = Dataset.from_list(Array.from({ length: 6 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`)));
const NF4 = new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' });
/** Models whose head is the table too, and others. */
const places = { tied: '', apart: '' };
const models = {} as Record<keyof typeof places, Record<'plain' | 'packed', CausalLM>>;
beforeAll(async () => {
  for (const tied of [true, false]) {
    const name = tied ? 'tied' : 'apart';
    const folder = await tinyLlama(7, { ...SHAPE, tie_word_embeddings: tied });
    const load = (options: object = {}) => AutoModelForCausalLM.from_pretrained(folder, { progress: false, ...options });
    places[name] = folder;
    models[name] = { plain: await load(), packed: await load({ quantization_config: NF4 }) };
  }
});
const placeOf = (name: string) => (CASES[name].tied ? 'tied' : 'apart');

const ids = [5, 9, 200, 3, 3, 7];
const logits = (model: CausalLM) => tf.tidy(() => Array.from(model.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).dataSync()));
const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));
/** Moves what is trained away from its first values. */
const move = (peft: PeftModel<CausalLM>, by = 0.2) => {
  let seed = 1;
  for (const p of peft.namedParameters().values())
    p.assign(tf.keep(tf.tidy(() => tf.add(p.tensor, tf.randomNormal(p.tensor.shape, 0, by, 'float32', seed++)))));
};
const attach = (model: CausalLM, name: string) => get_peft_model(model, CASES[name].config as unknown as PeftConfig);

for (const name of names)
  it(`${name}: starts as the base, off and on, saved and loaded, token by token, merged, over a 4-bit base too`, async () => {
    for (const [kind, model] of Object.entries(models[placeOf(name)])) {
      const before = logits(model);
      const tensors = tf.memory().numTensors;
      move(attach(model, name));
      const peft = attach(model, name); // in the place of the one that was moved
      if (!CASES[name].startsAnew) expect(worst(logits(model), before)).toBeLessThan(CASES[name].repacks && kind === 'packed' ? 1 : 1e-5);
      move(peft);
      const changed = logits(model);
      expect(worst(changed, before)).toBeGreaterThan(0.02);
      expect(await peft.disable_adapter(() => logits(model))).toEqual(before);
      expect(logits(model)).toEqual(changed);
      const cache = model.newCache(16);
      const steps = ids.flatMap((id) =>
        tf.tidy(() => Array.from(model.logits(model.hidden(tf.tensor2d([[id]], [1, 1], 'int32'), { cache }).reshape([1, 64])).dataSync())),
      );
      cache.dispose();
      expect(worst(steps, changed)).toBeLessThan(1e-4);
      const saved = scratch('method');
      await peft.save_pretrained(saved);
      if (!CASES[name].unmergeable) {
        await peft.merge_adapter({ dtype: 'float32' });
        expect(worst(logits(model), changed)).toBeLessThan(1e-4);
        expect(() => peft.set_adapter('default')).toThrow(/merged into the weights. Call unmerge_adapter/);
        peft.unmerge_adapter();
        expect(logits(model)).toEqual(changed);
      }
      peft.unload();
      expect(logits(model)).toEqual(before);
      expect(tf.memory().numTensors).toBe(tensors);
      const again = await PeftModel.from_pretrained(model, saved);
      expect(logits(model)).toEqual(changed);
      again.unload();
    }
  });

for (const name of names)
  it(`${name}: trains, with recomputation alike, resumes to the bit and generates`, async () => {
    const model = models[placeOf(name)].packed;
    const train = async (output_dir: string, options: object) => {
      const args = new SFTConfig({
        ...{
          output_dir,
          learning_rate: 1e-2,
          per_device_train_batch_size: 2,
          save_steps: 3,
          assistant_only_loss: true,
          disable_tqdm: true,
        },
        ...options,
      });
      const trainer = new SFTTrainer({
        ...{ model, processing_class: tinyTokenizer(), train_dataset: rows, args },
        peft_config: CASES[name].config as unknown as PeftConfig,
      });
      await trainer.train();
      const values = new Map([...trainer.model.namedParameters()].map(([key, p]) => [key, Array.from(p.tensor.dataSync())]));
      const losses = trainer.run!.series.loss.map(([, loss]) => loss);
      const text = await generate(trainer.model, ids, { max_new_tokens: 4 });
      expect(text.length).toBeGreaterThan(0);
      trainer.model.unload();
      return { values, losses };
    };
    const first = scratch('whole');
    const whole = await train(first, { max_steps: 6 });
    expect(whole.losses.at(-1)!).toBeLessThan(whole.losses[0]);
    const recomputed = await train(scratch('again'), { max_steps: 6, gradient_checkpointing: true });
    expect(worst(recomputed.losses, whole.losses)).toBeLessThan(1e-4);
    const half = scratch('half');
    await train(half, { max_steps: 6, num_train_epochs: 1 });
    const resumed = await train(half, { max_steps: 6, resume_from_checkpoint: `${half}/checkpoint-3` });
    expect(resumed.losses).toEqual(whole.losses);
    expect(resumed.values).toEqual(whole.values);
  });

it('adapters of several methods stand side by side by name, one at a time or together', async () => {
  const model = models.apart.plain;
  const before = logits(model);
  const peft = attach(model, names[0]);
  move(peft);
  const first = logits(model);
  peft.add_adapter('other', { peft_type: 'LORA', r: 2, target_modules: ['q_proj'], modules_to_save: ['norm'] } as never);
  expect(logits(model)).toEqual(first);
  expect(() => peft.add_adapter('other', {} as never)).toThrow(/There is an adapter called 'other' already/);
  expect(() => peft.set_adapter('third')).toThrow(/no adapter called 'third'; there are 'default', 'other'/);
  peft.set_adapter('other');
  expect(logits(model)).toEqual(before);
  move(peft);
  const second = logits(model);
  expect(worst(second, before)).toBeGreaterThan(0.01);
  expect(peft.active_adapters).toEqual(['other']);
  expect(Object.keys(peft.peft_config)).toEqual(['default', 'other']);
  peft.set_adapter(['default', 'other']);
  const both = logits(model);
  expect(worst(both, first)).toBeGreaterThan(0.01);
  expect([...peft.namedParameters().keys()].filter((key) => key.startsWith('other/')).length).toBeGreaterThan(0);
  const folder = scratch('several');
  await peft.save_pretrained(folder);
  peft.delete_adapter('default');
  expect(logits(model)).toEqual(second);
  peft.unload();
  expect(logits(model)).toEqual(before);
  const again = await PeftModel.from_pretrained(model, folder);
  expect(logits(model)).toEqual(first);
  await again.load_adapter(`${folder}/other`, 'other');
  again.set_adapter(['default', 'other']);
  expect(logits(model)).toEqual(both);
  again.unload();
});

for (const name of names.filter((name) => !CASES[name].unmergeable))
  it(`${name}: merge_and_unload leaves a model of its own`, async () => {
    const own = await AutoModelForCausalLM.from_pretrained(places[placeOf(name)], { progress: false });
    // A head that was the table is one of its own when one of the two has become another.
    const tensors = [...own.namedTensors()].map(([key]) => key).concat(CASES[name].tied ? ['lm_head.weight'] : []);
    const peft = attach(own, name);
    move(peft);
    const changed = logits(own);
    await peft.merge_and_unload({ dtype: 'float32' });
    expect(worst(logits(own), changed)).toBeLessThan(1e-4);
    expect([...own.namedTensors()].map(([key]) => key)).toEqual(tensors);
    const to = scratch('merged');
    await own.save_pretrained(to);
    const again = await AutoModelForCausalLM.from_pretrained(to, { progress: false });
    expect(worst(logits(again), changed)).toBeLessThan(1e-4);
    for (const model of [again, own]) model.dispose();
  });

it('one adapter at a time stands in the place of a module; terms of others beside it are merged with it', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(places.apart, { progress: false });
  const before = logits(model);
  const config = (target: string, modules_to_save: string[] | null = null) =>
    ({ peft_type: 'LORA', r: 2, target_modules: [target], modules_to_save }) as never;
  const peft = get_peft_model(model, config('q_proj', ['lm_head']));
  peft.add_adapter('beside', config('lm_head'));
  peft.add_adapter('second', config('v_proj', ['norm', 'lm_head']));
  peft.set_adapter(['default', 'beside']);
  move(peft);
  const changed = logits(model);
  expect(() => peft.set_adapter(['default', 'second'])).toThrow(/'default' and 'second' both put their own lm_head in the place/);
  expect(logits(model)).toEqual(changed);
  await peft.merge_adapter({ dtype: 'float32' });
  expect(worst(logits(model), changed)).toBeLessThan(1e-4);
  peft.unmerge_adapter();
  expect(logits(model)).toEqual(changed);
  peft.set_adapter('second');
  expect(logits(model)).toEqual(before);
  peft.set_adapter(['default', 'beside']);
  await peft.merge_and_unload({ dtype: 'float32' });
  expect(worst(logits(model), changed)).toBeLessThan(1e-4);
  model.dispose();
});

/** What a new adapter cannot be. */
const REFUSED: [config: Record<string, unknown>, error: RegExp][] = [
  [{ peft_type: 'LOHA', r: 2, rank_pattern: { nothing: 3 } }, /LoHaConfig: rank_pattern has 'nothing', which fits none/],
  [{ peft_type: 'LOKR', r: 2, alpha_pattern: { nothing: 3 } }, /LoKrConfig: alpha_pattern has 'nothing', which fits none/],
  [{ peft_type: 'FOURIERFT', n_frequency_pattern: { nothing: 3 } }, /FourierFTConfig: n_frequency_pattern has 'nothing', which fits none/],
  [
    { peft_type: 'FOURIERFT', n_frequency: 60, n_frequency_pattern: { v_proj: 1e6 } },
    /n_frequency = 1000000, but the spectrum of .*v_proj/,
  ],
  [{ peft_type: 'LORA', rank_pattern: { nothing: 3 } }, /LoraConfig: rank_pattern has 'nothing', which fits none/],
  [{ peft_type: 'LORA', loftq_config: { loftq_bits: 8 } }, /loftq_config = .* has no effect without init_lora_weights: 'loftq'/],
  [
    { peft_type: 'IA3', target_modules: ['q_proj', 'lm_head'], feedforward_modules: [] },
    /IA3Config: target module lm_head cannot be adapted/,
  ],
  [{ peft_type: 'MISS', r: 8, mini_r: 4 }, /MissConfig: mini_r = 4 has no effect without init_weights: 'mini'/],
  [{ peft_type: 'MISS', r: 8, init_weights: 'bat', miss_dropout: 0.1 }, /miss_dropout = 0.1 has no effect with init_weights: 'bat'/],
  [{ peft_type: 'MISS', r: 24, init_weights: 'bat' }, /r = 24 does not divide into square blocks/],
  [{ peft_type: 'OFT', use_cayley_neumann: false, num_cayley_neumann_terms: 3 }, /num_cayley_neumann_terms = 3 has no effect/],
  [{ peft_type: 'VERA', r: 8, init_weights: false, d_initial: 0.5 }, /d_initial = 0.5 has no effect with init_weights: false/],
  [{ peft_type: 'HRA', r: 4, apply_GS: true }, /HRAConfig: apply_GS = true .* equal pairs, .* even r \(4\).* Set init_weights: false/],
];
it('a new adapter of options that do nothing or cannot work is refused, and leaves nothing behind', () => {
  const model = models.apart.plain;
  const { numTensors } = tf.memory();
  for (const [config, error] of REFUSED) {
    expect(() => get_peft_model(model, config as never)).toThrow(error);
    expect(tf.memory().numTensors, JSON.stringify(config)).toBe(numTensors);
  }
});

/** What a saved adapter may be nonetheless: its values are in a file. */
const SAVED: [config: Record<string, unknown>, changed: Record<string, unknown>][] = [
  [{ peft_type: 'HRA', r: 4, apply_GS: true, init_weights: false }, { init_weights: true }],
  [{ peft_type: 'MISS', r: 8 }, { mini_r: 4 }],
  [{ peft_type: 'MISS', r: 8, init_weights: 'bat' }, { miss_dropout: 0.1 }],
  [{ peft_type: 'LORA', r: 4 }, { loftq_config: { loftq_bits: 8, loftq_iter: 1 } }],
  [{ peft_type: 'LOKR', r: 2 }, { rank_pattern: { nothing: 3 } }],
];
it('a saved adapter opens with options that a new one is refused for', async () => {
  const model = models.apart.plain;
  for (const [config, changed] of SAVED) {
    const peft = get_peft_model(model, config as never);
    move(peft);
    const moved = logits(model);
    const folder = scratch('saved');
    await peft.save_pretrained(folder);
    peft.unload();
    const path = join(folder, 'adapter_config.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changed }));
    const again = await PeftModel.from_pretrained(model, folder);
    expect(logits(model), JSON.stringify(changed)).toEqual(moved);
    again.unload();
  }
});

const LORA = { peft_type: 'LORA', r: 4, target_modules: ['q_proj', 'down_proj'] };
/** Adapters that are made of the model's own matrices, or read them in each pass. */
const OF_MATRICES: { first?: object; second: object; model?: 'tied' | 'apart' }[] = [
  { second: { ...LORA, init_lora_weights: 'pissa' } },
  { second: { ...LORA, r: 2, init_lora_weights: 'olora' } },
  { second: { ...LORA, init_lora_weights: 'loftq' } },
  { second: { ...LORA, use_dora: true } },
  { second: { ...LORA, use_dora: true, init_lora_weights: 'olora' } },
  { second: { peft_type: 'HRA', r: 4, target_modules: ['q_proj', 'down_proj'] } },
  { second: { peft_type: 'MISS', r: 8, init_weights: 'bat', target_modules: ['q_proj', 'down_proj'] } },
  { first: { ...LORA, modules_to_save: ['lm_head'] }, second: { ...LORA, modules_to_save: ['lm_head'] }, model: 'tied' },
  {
    first: { ...LORA, modules_to_save: ['embed_tokens'] },
    second: { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 3, prompt_tuning_init: 'SAMPLE_VOCAB' },
  },
];
it('an adapter is made, loaded, exchanged and converted beside others of the matrices as it is alone', async () => {
  for (const { first = { ...LORA, init_lora_weights: 'pissa' }, second, model: name = 'apart' } of OF_MATRICES) {
    const what = JSON.stringify(second);
    const model = models[name].plain;
    const before = logits(model);
    const { numTensors } = tf.memory();
    const values = (peft: PeftModel<CausalLM>) => [...peft.ownParameters()].map(([key, p]) => [key, Array.from(p.tensor.dataSync())]);
    const converts =
      (second as { peft_type: string; modules_to_save?: string[] }).peft_type !== 'PROMPT_TUNING' && !('modules_to_save' in second);
    const alone = get_peft_model(model, second as never);
    const fresh = values(alone);
    const [asMade, folder] = [logits(model), scratch('alone')];
    move(alone);
    const moved = logits(model);
    await alone.save_pretrained(folder);
    let lora: number[] = [];
    if (converts) {
      alone.convert_to_lora(3);
      alone.set_adapter('lora');
      lora = logits(model);
    }
    alone.unload();

    const peft = get_peft_model(model, first as never);
    move(peft);
    const firsts = logits(model);
    peft.add_adapter('second', second as never);
    await peft.load_adapter(folder, 'loaded');
    if (converts) peft.convert_to_lora(3, { adapter_name: 'loaded' });
    expect(logits(model), what).toEqual(firsts);
    peft.set_adapter('second');
    expect(values(peft), what).toEqual(fresh);
    expect(logits(model), what).toEqual(asMade);
    peft.set_adapter('loaded');
    expect(logits(model), what).toEqual(moved);
    if (converts) {
      peft.set_adapter('lora');
      expect(logits(model), what).toEqual(lora);
    }
    if ((second as typeof LORA).peft_type === 'LORA') {
      peft.set_adapter('default');
      await peft.hotswap_adapter(folder);
      expect(logits(model), what).toEqual(moved);
    }
    peft.unload();
    expect(logits(model)).toEqual(before);
    expect(tf.memory().numTensors).toBe(numTensors);
  }
});

it('where merging fails at any matrix, the model and its adapters are as they were', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(places.tied, { progress: false });
  const peft = get_peft_model(model, { ...LORA, modules_to_save: ['norm', 'embed_tokens', 'lm_head'] } as never);
  move(peft);
  const changed = logits(model);
  const base = await peft.disable_adapter(() => logits(model));
  const { numTensors } = tf.memory();
  const finish = MatrixWriter.prototype.finish;
  let left = 0;
  const failing = vi.spyOn(MatrixWriter.prototype, 'finish').mockImplementation(function (this: MatrixWriter) {
    if (left-- === 0) throw new Error('no memory');
    return finish.call(this);
  });
  const layers = 2 * model.config.num_hidden_layers;
  for (const at of [0, layers - 1, layers, layers + 1]) {
    left = at;
    await expect(peft.merge_and_unload({ dtype: 'float32' })).rejects.toThrow('no memory');
    expect(logits(model), String(at)).toEqual(changed);
    expect(await peft.disable_adapter(() => logits(model))).toEqual(base);
    expect(tf.memory().numTensors).toBe(numTensors);
  }
  failing.mockRestore();
  await peft.merge_and_unload({ dtype: 'float32' });
  expect(worst(logits(model), changed)).toBeLessThan(1e-4);
  model.dispose();
});

it('merge_and_unload leaves a model of its own, in 16 or 32 bits', async () => {
  const own = await AutoModelForCausalLM.from_pretrained(await tinyLlama(7, { ...SHAPE, tie_word_embeddings: true }), {
    progress: false,
    quantization_config: NF4,
  });
  const peft = get_peft_model(own, {
    ...{ peft_type: 'LORA', r: 4, target_modules: ['q_proj', 'down_proj', 'lm_head'], modules_to_save: ['norm'] },
  } as never);
  move(peft);
  const changed = logits(own);
  const model = await peft.merge_and_unload({ dtype: 'float32' });
  expect(model).toBe(own);
  expect(worst(logits(model), changed)).toBeLessThan(1e-4);
  expect([...model.namedTensors()].map(([key]) => key)).toContain('lm_head.weight');
  const merged = logits(model);
  const head = get_peft_model(model, { target_modules: ['q_proj'], modules_to_save: ['lm_head'] } as never);
  move(head);
  expect(worst(logits(model), merged)).toBeGreaterThan(0.01);
  head.unload();
  expect(logits(model)).toEqual(merged); // its own head, not the table's again
  const folder = scratch('merged');
  await model.save_pretrained(folder);
  const again = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  expect(worst(logits(again), changed)).toBeLessThan(1e-4);
  await expect(get_peft_model(again, { r: 2 } as never).merge_and_unload({ dtype: 'int4' })).rejects.toThrow(
    /'bfloat16' or 'float32', not in 'int4'/,
  );
  again.dispose();
  model.dispose();
});
