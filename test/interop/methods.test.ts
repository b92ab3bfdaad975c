import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { readSafetensors } from '../../src/formats/safetensors';
import { AutoModelForCausalLM, Dataset, get_peft_model, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { dropped, type LowRank, training } from '../../src/nn';
import { pairsIn } from '../../src/peft/lora_term';
import type { PeftConfig } from '../../src/peft/method';
import { peer } from '../peer';
import { CASES, names } from '../peft/cases';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { expectSameTraining, trainBoth } from './train_both';

const SCRIPT = 'peer_methods.py';
const ids = [[1, 2, 3, 4, 5, 6]];
const places = { tied: '', apart: '' };
const models = {} as Record<keyof typeof places, CausalLM>;
const placeOf = (name: string) => (CASES[name].tied ? 'tied' : 'apart');
const cases = names.map((name) => ({ ...CASES[name], unmergeable: Boolean(CASES[name].unmergeable), folder: scratch('theirs') }));
const types = ['llama', 'mistral', 'qwen2', 'qwen3', 'gemma'];
let theirs: {
  logits: number[];
  again: number[];
  merged: number[] | null;
  shapes: Record<string, number[]>;
  usual: Record<string, string[]>;
}[];
beforeAll(async () => {
  for (const name of ['tied', 'apart'] as const) {
    places[name] = await tinyLlama(8, { hidden_size: 64, intermediate_size: 128, tie_word_embeddings: name === 'tied' });
    models[name] = await AutoModelForCausalLM.from_pretrained(places[name], { progress: false });
  }
  const given = cases.map((one, i) => ({ ...one, model: places[placeOf(names[i])] }));
  theirs = peer('methods_saved', { ids, cases: given, types }, SCRIPT);
});
const logits = (model: CausalLM) => tf.tidy(() => Array.from(model.forward(tf.tensor2d(ids, [1, 6], 'int32')).dataSync()));
const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));
/** The fields of a saved config; that of PEFT's version is its own. */
const fields = (saved: string) =>
  Object.keys(JSON.parse(readFileSync(join(saved, 'adapter_config.json'), 'utf8'))).filter((field) => field !== 'peft_version');
const config = (name: string) => CASES[name].config as unknown as PeftConfig;

it('adapters of every method that PEFT saved answer here as there, with the same tensors, merged too', async () => {
  for (const [i, name] of names.entries()) {
    const model = models[placeOf(name)];
    const base = logits(model);
    expect(worst(theirs[i].again, theirs[i].logits), `${name}: PEFT's own`).toBeLessThan(1e-5);
    const peft = await PeftModel.from_pretrained(model, cases[i].folder);
    const now = logits(model);
    expect(worst(now, theirs[i].logits), name).toBeLessThan(1e-4);
    expect(worst(now, base), name).toBeGreaterThan(1e-2);
    const again = scratch('again');
    await peft.save_pretrained(again);
    const { tensors } = await readSafetensors(join(again, 'adapter_model.safetensors'));
    const shapes = Object.fromEntries([...tensors].map(([key, { shape }]) => [key, shape]));
    expect(shapes, name).toEqual(theirs[i].shapes);
    if (theirs[i].merged) {
      await peft.merge_adapter({ dtype: 'float32' });
      expect(worst(logits(model), theirs[i].merged as number[]), `${name}, merged`).toBeLessThan(1e-4);
    }
    peft.unload();
  }
});

it('adapters of every method that are saved here answer in PEFT as here, without a word', async () => {
  const made: { model: string; folder: string; logits: number[] }[] = [];
  for (const name of names) {
    const model = models[placeOf(name)];
    const peft = get_peft_model(model, config(name));
    let seed = 1;
    for (const p of peft.namedParameters().values())
      p.assign(tf.keep(tf.tidy(() => tf.add(p.tensor, tf.randomNormal(p.shape, 0, 0.2, 'float32', seed++)))));
    const to = scratch('ours');
    await peft.save_pretrained(to);
    made.push({ model: places[placeOf(name)], folder: to, logits: logits(model) });
    expect(fields(to), name).toEqual(fields(cases[made.length - 1].folder));
    peft.unload();
  }
  const loaded = peer<{ logits: number[]; warnings: string[] }[]>('methods_loaded', { ids, cases: made }, SCRIPT);
  for (const [i, name] of names.entries()) {
    // Of VeRA without its matrices, and of BOFT without CUDA, it says so always.
    expect(
      loaded[i].warnings.filter((text) => !/relying on PRNG initialisation|load the CUDA extension/.test(text)),
      name,
    ).toEqual([]);
    expect(worst(loaded[i].logits, made[i].logits), name).toBeLessThan(1e-4);
  }
});

it('without target_modules every method adapts what PEFT adapts in such a model', async () => {
  expect(Object.keys(theirs[0].usual)).toEqual(types);
  const model = models.apart;
  const { model_type } = model.config;
  for (const [i, name] of names.entries())
    for (const [type, expected] of Object.entries(theirs[i].usual)) {
      const { peft_type, total_step } = CASES[name].config;
      Object.assign(model.config, { model_type: type });
      const peft = get_peft_model(model, { peft_type, total_step } as never);
      const adapted = [...model.namedModules()].filter(([, module]) => module.adapted).map(([path]) => path.replace(/^.*\./, ''));
      expect([...new Set(adapted)].toSorted(), `${peft_type}, ${type}`).toEqual(expected.toSorted());
      peft.unload();
    }
  Object.assign(model.config, { model_type });
});

it('DoRA that drops inputs trains as in PEFT, given the same masks', async () => {
  const model = models.apart;
  const seed = 11;
  const folder = scratch('dropping');
  const cases = [];
  const ours: { logits: number[]; gradients: Record<string, number[]> }[] = [];
  for (const init_lora_weights of [true, 'pissa']) {
    const peft = get_peft_model(model, {
      ...{ peft_type: 'LORA', r: 4, lora_dropout: 0.4, use_dora: true, init_lora_weights, target_modules: ['q_proj', 'down_proj'] },
    } as never);
    let at = 1;
    for (const p of peft.namedParameters().values())
      p.assign(tf.keep(tf.tidy(() => tf.add(p.tensor, tf.randomNormal(p.shape, 0, 0.2, 'float32', at++)))));
    const to = join(folder, String(cases.length));
    await peft.save_pretrained(to);
    const pairs = pairsIn(peft.attached);
    const mask = (pair: LowRank) => tf.tidy(() => Array.from(dropped(tf.ones([1, 6, pair.a.shape[1]]), pair).dataSync()));
    const masks = Object.fromEntries([...pairs].map(([path, pair]) => [path, training(seed, () => mask(pair))]));
    const names = [...peft.namedParameters().keys()];
    const trained = [...peft.namedParameters().values()].map((p) => p.tensor);
    const recorded = training(seed, () => record(() => model.forward(tf.tensor2d(ids, [1, 6], 'int32'))));
    const values = Array.from(recorded.value.dataSync());
    const gradients = recorded.pullback(trained, recorded.value);
    ours.push({ logits: values, gradients: Object.fromEntries(names.map((key, i) => [key, Array.from(gradients[i].dataSync())])) });
    for (const tensor of gradients) tensor.dispose();
    cases.push({ model: places.apart, folder: to, masks });
    peft.unload();
  }
  const theirs = peer<typeof ours>('dora_dropped', { ids, cases }, SCRIPT);
  for (const [i, one] of theirs.entries()) {
    expect(worst(ours[i].logits, one.logits)).toBeLessThan(1e-4);
    for (const [key, values] of Object.entries(one.gradients)) {
      const size = Math.max(...values.map(Math.abs));
      expect(worst(ours[i].gradients[key], values) / size, key).toBeLessThan(1e-3);
    }
  }
});

it('20 steps of every method: each loss within 1e-3 of PEFT', async () => {
  const train = Dataset.from_list(Array.from({ length: 12 }, (_, i) => chatRow(`What is ${i} plus one?`, `${i} plus one is ${i + 1}.`)));
  const common = { tokenizer: tinyTokenizer(), train, steps: 20, dtype: 'float32' as const, lr: 1e-2 };
  const settings = [];
  for (const name of names) {
    const peft = get_peft_model(models[placeOf(name)], config(name));
    settings.push({ ...common, path: places[placeOf(name)], peft: peft.active_peft_config });
    peft.unload();
  }
  for (const both of await trainBoth(settings)) expectSameTraining(both);
});
