import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, get_peft_model, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { peer } from '../peer';
import { scratch, tinyLlama } from '../tiny';

const ids = [[1, 2, 3, 4, 5, 6]];
const one = scratch('one');
const two = scratch('two');
const ranked = scratch('ranked');
const rankedToo = scratch('ranked-too');
const loha = scratch('loha');
const pissa = scratch('pissa');
let folder: string;
let model: CausalLM;
let tensors: number;
const logits = () => tf.tidy(() => Array.from(model.forward(tf.tensor2d(ids, [1, 6], 'int32')).dataSync()));
const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));

/** Adapters of other ranks at some modules. */
const RANKED = ['ranked', 'ranked_too'];
/** How two adapters become one: weights, options, and names where they are others than 'one' and 'two'. */
const CASES: [number[], Record<string, unknown>, string[]?][] = [
  [[0.7, 0.5], { combination_type: 'linear' }],
  [[0.7, -0.5], { combination_type: 'linear' }],
  [[0.7, -0.5], {}],
  [[0.7, 0.5], { combination_type: 'svd', svd_rank: 2 }],
  [[0.7, -0.5], { combination_type: 'cat' }],
  [[0.7, 0.5], { combination_type: 'ties', density: 0.4 }],
  [[0.7, 0.5], { combination_type: 'ties', density: 0.4, majority_sign_method: 'frequency' }],
  [[0.7, 0.5], { combination_type: 'ties_svd', density: 0.4 }],
  [[0.7, 0.5], { combination_type: 'magnitude_prune', density: 0.6 }],
  [[0.7, 0.5], { combination_type: 'magnitude_prune_svd', density: 0.6 }],
  [[0.7, 0.5], { combination_type: 'dare_linear', density: 1 }],
  [[0.7, 0.5], { combination_type: 'dare_ties_svd', density: 1 }],
  [[0.7, -0.5], { combination_type: 'linear' }, RANKED],
  [[0.7, 0.5], { combination_type: 'ties', density: 0.4 }, RANKED],
  [[0.7, 0.5], { combination_type: 'dare_linear', density: 1 }, RANKED],
  [[0.7, 0.5], { combination_type: 'dare_ties', density: 1 }, RANKED],
  [[0.7, 0.5], { combination_type: 'magnitude_prune', density: 0.6 }, RANKED],
  [[0.7, -0.5], { combination_type: 'cat' }, RANKED],
  [[0.7, 0.5], {}, RANKED],
  [[0.7], { combination_type: 'linear' }, ['ranked']],
];

beforeAll(async () => {
  folder = await tinyLlama(8);
  model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  tensors = tf.memory().numTensors;
  let seed = 1;
  const make = async (to: string, config: object) => {
    const peft = get_peft_model(model, config as never);
    for (const p of peft.namedParameters().values())
      p.assign(tf.keep(tf.tidy(() => tf.add(p.tensor, tf.randomNormal(p.shape, 0, 0.2, 'float32', seed++)))));
    await peft.save_pretrained(to);
    peft.unload();
  };
  await make(one, { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj', 'v_proj'] });
  await make(two, { peft_type: 'LORA', r: 4, lora_alpha: 4, target_modules: ['v_proj', 'down_proj'] });
  const patterns = { r: 4, rank_pattern: { v_proj: 2 }, alpha_pattern: { v_proj: 3 } };
  await make(ranked, { peft_type: 'LORA', target_modules: ['q_proj', 'v_proj'], ...patterns });
  await make(rankedToo, { peft_type: 'LORA', target_modules: ['v_proj', 'down_proj'], ...patterns });
  await make(pissa, { peft_type: 'LORA', r: 4, target_modules: ['q_proj'], init_lora_weights: 'pissa' });
  await make(loha, { peft_type: 'LOHA', r: 2, target_modules: ['q_proj', 'down_proj'] });
});
afterAll(() => model.dispose());

it('adapters are worked into one as in PEFT, and one of another method into LoRA', async () => {
  const peft = await PeftModel.from_pretrained(model, one, { adapter_name: 'one' });
  await peft.load_adapter(two, 'two');
  await peft.load_adapter(ranked, 'ranked');
  await peft.load_adapter(rankedToo, 'ranked_too');
  const saved = scratch('both');
  const ours: number[][] = [];
  for (const [weights, options, names = ['one', 'two']] of CASES) {
    peft.add_weighted_adapter(names, weights, 'both', options);
    peft.set_adapter('both');
    ours.push(logits());
    // Of ranks that differ too it is an adapter of one rank, which opens here and there.
    if (names === RANKED && options.combination_type === 'linear') await peft.save_pretrained(saved, { selected_adapters: ['both'] });
    peft.delete_adapter('both');
  }
  peft.unload();
  const theirs = peer<{ combined: number[][]; converted: number[][]; again: number[] }>(
    'combined',
    {
      ...{ model: folder, ids, one, two, ranked, ranked_too: rankedToo, loha },
      saved: join(saved, 'both'),
      cases: CASES.map(([weights, options, names = ['one', 'two']]) => [weights, options, names]),
    },
    'peer_methods.py',
  );
  for (const [i, logits] of theirs.combined.entries()) expect(worst(ours[i], logits), JSON.stringify(CASES[i])).toBeLessThan(1e-4);
  const of = CASES.findIndex(([, , names]) => names === RANKED);
  expect(worst(ours[of], theirs.again)).toBeLessThan(1e-4);
  (await PeftModel.from_pretrained(model, join(saved, 'both'))).set_adapter('default');
  expect(logits()).toEqual(ours[of]);
  const other = await PeftModel.from_pretrained(model, loha);
  const before = logits();
  for (const [i, rank] of [3, 0.8].entries()) {
    const { lost, lostBy } = other.convert_to_lora(rank);
    other.set_adapter('lora');
    expect(worst(logits(), theirs.converted[i]), `rank ${rank}`).toBeLessThan(1e-4);
    if (rank < 1) for (const share of Object.values(lostBy)) expect(share).toBeLessThan(1 - rank);
    expect(lost).toBeGreaterThan(0);
    other.delete_adapter('lora');
  }
  other.convert_to_lora(4); // of rank r * r, so nothing is lost
  other.set_adapter('lora');
  expect(worst(logits(), before)).toBeLessThan(1e-4);
  other.unload();
  expect(tf.memory().numTensors).toBe(tensors);
});

it('what dare leaves out is made up for by what stays', () => {
  const peft = get_peft_model(model, { peft_type: 'LORA', r: 4, target_modules: ['q_proj'] } as never);
  for (const p of peft.namedParameters().values()) p.assign(tf.keep(tf.ones(p.shape)));
  peft.add_adapter('other', { peft_type: 'LORA', r: 4, target_modules: ['q_proj'] } as never);
  peft.add_weighted_adapter(['default', 'other'], [1, 0], 'both', { combination_type: 'dare_linear', density: 0.5 });
  peft.set_adapter('both');
  const values = [...peft.namedParameters().values()].flatMap(({ tensor }) => Array.from(tensor.dataSync(), (v) => v * Math.sqrt(2)));
  expect(values.every((v) => v === 0 || Math.abs(v / values.find(Boolean)! - 1) < 1e-5)).toBe(true);
  const share = values.filter(Boolean).length / values.length;
  expect(share).toBeGreaterThan(0.4);
  expect(share).toBeLessThan(0.6);
  peft.unload();
});

it('adapters that bring tables of their own are exchanged and deleted in any order', async () => {
  const before = logits();
  const folders: string[] = [];
  for (const seed of [21, 22]) {
    const other = await AutoModelForCausalLM.from_pretrained(await tinyLlama(seed), { progress: false });
    const peft = get_peft_model(other, { peft_type: 'LORA', r: 2, target_modules: ['embed_tokens', 'q_proj'] } as never);
    const to = scratch('table');
    await peft.save_pretrained(to);
    folders.push(to);
    peft.unload();
    other.dispose();
  }
  const [first, second] = folders;
  const alone: number[][] = [];
  for (const folder of folders) {
    const peft = await PeftModel.from_pretrained(model, folder);
    alone.push(logits());
    peft.unload();
  }
  const peft = await PeftModel.from_pretrained(model, first);
  for (const [folder, expected] of [
    [second, alone[1]],
    [second, alone[1]],
    [first, alone[0]],
  ] as const) {
    // biome-ignore format: rows
    await peft.hotswap_adapter(folder);
    expect(logits()).toEqual(expected);
  }
  await peft.load_adapter(second, 'second');
  expect(worst(logits(), alone[0])).toBeGreaterThan(1e-2); // the last that came has its table in the model
  peft.set_adapter('second');
  peft.delete_adapter('default');
  expect(logits()).toEqual(alone[1]);
  peft.unload();
  expect(logits()).toEqual(before);
  expect(tf.memory().numTensors).toBe(tensors);
});

it('an adapter is exchanged where it stands; what cannot be combined is refused', async () => {
  const peft = await PeftModel.from_pretrained(model, one);
  const first = logits();
  await peft.hotswap_adapter(two);
  const second = logits();
  expect(worst(first, second)).toBeGreaterThan(1e-2);
  expect(peft.active_adapters).toEqual(['default']);
  await expect(peft.hotswap_adapter(loha)).rejects.toThrow(/'default' is of 'LORA', but .* of 'LOHA'. Use load_adapter/);
  expect(logits()).toEqual(second);
  await peft.hotswap_adapter(one);
  expect(logits()).toEqual(first);
  // One that clashes with what stands beside it is not exchanged, and the old one stays.
  await peft.load_adapter(pissa, 'pissa');
  peft.set_adapter(['default', 'pissa']);
  const together = logits();
  const { numTensors } = tf.memory();
  await expect(peft.hotswap_adapter(pissa, 'default')).rejects.toThrow(/hotswap_adapter: 'default \(new\)' and 'pissa' both put their own/);
  expect(Object.keys(peft.peft_config)).toEqual(['default', 'pissa']);
  expect(logits()).toEqual(together);
  expect(tf.memory().numTensors).toBe(numTensors);
  peft.set_adapter('default');
  await peft.load_adapter(loha, 'loha');
  peft.add_adapter('small', { peft_type: 'LORA', r: 2, target_modules: ['q_proj'] } as never);
  const refuses = (names: string[], weights: number[], options: object, error: RegExp) =>
    expect(() => peft.add_weighted_adapter(names, weights, 'new', options as never)).toThrow(error);
  refuses(['default', 'loha'], [1, 1], {}, /'loha' is A LoHa adapter .* convert_to_lora/);
  refuses(['default', 'small'], [1, 1], { combination_type: 'linear' }, /at .*q_proj the ranks are 4, 2. Use 'svd' or 'cat'/);
  peft.add_adapter('other', { peft_type: 'LORA', r: 4, rank_pattern: { v_proj: 2 }, target_modules: ['v_proj', 'q_proj'] } as never);
  refuses(['default', 'other'], [1, 1], { combination_type: 'magnitude_prune', density: 0.5 }, /at .*v_proj the ranks are 4, 2/);
  refuses(['default', 'small'], [1], {}, /weights are \[1\], for 2 adapters/);
  refuses(['default', 'small'], [1, 1], { combination_type: 'sum' }, /combination_type is 'sum'; it can be svd, linear, cat/);
  refuses(['default', 'small'], [1, 1], { combination_type: 'ties' }, /needs a density from 0 to 1/);
  refuses(['default', 'small'], [1, 1], { density: 0.5 }, /density has no effect with 'svd'/);
  refuses(['default', 'small'], [1, 1], { majority_sign_method: 'frequency' }, /majority_sign_method has no effect with 'svd'/);
  const prunes = { combination_type: 'magnitude_prune_svd', density: 0.5 };
  refuses(['default', 'small'], [1, 1], { ...prunes, seed: 1 }, /seed has no effect with 'magnitude_prune_svd'/);
  refuses(['default', 'small'], [1, 1], { combination_type: 'dare_linear', density: 0.5, seed: 0.5 }, /seed is 0.5; it is a whole number/);
  refuses(['default', 'nobody'], [1, 1], {}, /no adapter called 'nobody'/);
  expect(() => peft.convert_to_lora(1000)).toThrow(/rank is 1000, but the matrix of .* Choose/);
  expect(() => peft.convert_to_lora(0)).toThrow(/rank is 0/);
  // The first module has room for the rank, a later one has not: nothing of it is left.
  peft.add_adapter('narrow', { peft_type: 'LOHA', r: 2, target_modules: ['q_proj', 'k_proj'] } as never);
  const count = tf.memory().numTensors;
  expect(() => peft.convert_to_lora(20, { adapter_name: 'narrow' })).toThrow(/the matrix of .*k_proj is \[16,32\]/);
  expect(() => peft.convert_to_lora(2, { adapter_name: 'narrow', to: 'narrow' })).toThrow(/an adapter called 'narrow' already/);
  expect(tf.memory().numTensors).toBe(count);
  peft.unload();
  const prompt = get_peft_model(model, { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 3 } as never);
  expect(() => prompt.convert_to_lora(2)).toThrow(/no update of matrices/);
  prompt.unload();
});
