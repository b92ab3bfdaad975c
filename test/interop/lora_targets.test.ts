import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { mergeCheck } from '../../src/evaluate/merge_check';
import { AutoModelForCausalLM, BitsAndBytesConfig, Dataset, get_peft_model, LoraConfig, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { LoraOptions } from '../../src/peft/lora';
import { peer } from '../peer';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { expectSameTraining, trainBoth } from './train_both';

const ids = [[1, 2, 3, 4, 5, 6, 200, 3]];
const folders: Record<'tied' | 'apart', string> = { tied: '', apart: '' };
const models: Record<string, CausalLM> = {};
const load = (path: string) => AutoModelForCausalLM.from_pretrained(path, { progress: false });
beforeAll(async () => {
  folders.tied = await tinyLlama(5, { num_hidden_layers: 3 });
  folders.apart = await tinyLlama(6, { num_hidden_layers: 3, tie_word_embeddings: false });
  for (const [name, folder] of Object.entries(folders)) models[name] = await load(folder);
});
afterAll(() => {
  for (const model of Object.values(models)) model.dispose();
});

const logits = (model: CausalLM) => tf.tidy(() => Array.from(model.forward(tf.tensor2d(ids, [1, ids[0].length], 'int32')).dataSync()));
const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));
/** Both halves of every pair random, as after training. */
const randomise = (peft: PeftModel) => {
  let seed = 1;
  for (const p of peft.namedParameters().values()) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, 0.2, 'float32', seed++)));
};

interface SavedCase {
  model: 'tied' | 'apart';
  config: Record<string, unknown>;
  merge?: boolean;
  convert?: boolean;
  table?: boolean;
  dtype?: 'bfloat16' | 'float16';
  /** What loading it here fails with. */
  error?: RegExp;
}
const both = ['embed_tokens', 'lm_head', 'q_proj'];
const SAVED: SavedCase[] = [
  { model: 'apart', config: { target_modules: ['lm_head'] }, merge: true },
  { model: 'tied', config: { target_modules: ['lm_head'], r: 4, lora_alpha: 8 } },
  { model: 'apart', config: { target_modules: ['embed_tokens'], r: 3 }, merge: true },
  { model: 'tied', config: { target_modules: ['embed_tokens'], use_rslora: true } },
  { model: 'apart', config: { target_modules: both, rank_pattern: { lm_head: 2, embed_tokens: 5 } }, merge: true },
  { model: 'tied', config: { target_modules: both } },
  { model: 'apart', config: { target_modules: both }, dtype: 'bfloat16' },
  { model: 'tied', config: { target_modules: both }, dtype: 'float16' },
  { model: 'apart', config: { target_modules: both }, table: true },
  { model: 'tied', config: { target_modules: both }, table: true },
  { model: 'apart', config: { target_modules: '.*(q_proj|embed_tokens)', task_type: null } },
  { model: 'apart', config: { target_modules: ['q_proj', 'o_proj', 'nothing'], exclude_modules: '.*0.*', fan_in_fan_out: true } },
  { model: 'apart', config: { target_modules: ['q_proj'], init_lora_weights: 'orthogonal' } },
  { model: 'apart', config: { target_modules: ['q_proj'], init_lora_weights: 'pissa' }, convert: true },
  { model: 'apart', config: { target_modules: ['v_proj'], init_lora_weights: 'olora' }, convert: true },
  { model: 'apart', config: { target_modules: ['q_proj', 'lm_head'], init_lora_weights: 'pissa', r: 4 } },
  { model: 'tied', config: { target_modules: ['q_proj', 'lm_head'], init_lora_weights: 'olora', r: 4, lora_alpha: 8 } },
  { model: 'tied', config: { target_modules: ['q_proj'], use_dora: true, init_lora_weights: 'pissa', r: 4 }, merge: true },
  { model: 'apart', config: { target_modules: ['q_proj'], modules_to_save: ['lm_head'] } },
  { model: 'tied', config: { target_modules: ['q_proj'], modules_to_save: ['lm_head'] } },
  { model: 'apart', config: { target_modules: ['q_proj'], trainable_token_indices: [3] }, error: /trainable_token_indices = \[3\]/ },
  {
    model: 'tied',
    config: { target_modules: ['embed_tokens'], ensure_weight_tying: true },
    error: /ensure_weight_tying = true .* share one adapter/,
  },
];

it('adapters of PEFT for any layer answer here as there, or are refused with the reason', async () => {
  const cases = SAVED.map((c, i) => ({ ...c, model: folders[c.model], folder: scratch(`theirs-${i}`) }));
  const results = peer<{ logits: number[]; merged: number[] | null; shapes: Record<string, number[]> }[]>('lora_saved', { cases, ids });
  for (const [i, { model: name, config, error, dtype, merge, table }] of SAVED.entries()) {
    const what = `${name} ${JSON.stringify(config)} ${dtype ?? ''}`;
    const model = models[name];
    const before = logits(model);
    if (error) {
      await expect(PeftModel.from_pretrained(model, cases[i].folder), what).rejects.toThrow(error);
    } else {
      const peft = await PeftModel.from_pretrained(model, cases[i].folder);
      const ours = logits(model);
      expect(worst(ours, before), what).toBeGreaterThan(1e-2);
      expect(worst(ours, results[i].logits), what).toBeLessThan(1e-4);
      if (merge) expect(worst(ours, results[i].merged as number[]), `${what} merged`).toBeLessThan(1e-4);
      expect((await mergeCheck(peft as PeftModel<CausalLM>, ids[0])).drift, `${what} merged here`).toBeLessThan(0.05);
      expect(logits(model), 'after the merge check').toEqual(ours);
      const saved = scratch('again');
      await peft.save_pretrained(saved);
      const shapes = (path: string) => JSON.parse(header(path)) as Record<string, { shape: number[] }>;
      const again = Object.fromEntries(
        Object.entries(shapes(saved)).flatMap(([n, { shape }]) => (n === '__metadata__' ? [] : [[n, shape]])),
      );
      expect(again, `${what}: tensors saved`).toEqual(results[i].shapes);
      // The other table stays only as long as the adapter that brought it.
      if (table) expect(worst(await peft.disable_adapter(() => logits(model)), before)).toBeGreaterThan(1e-2);
      peft.unload();
    }
    expect(logits(model), `${what}: the base model afterwards`).toEqual(before);
  }
});

function header(folder: string): string {
  const bytes = readFileSync(join(folder, 'adapter_model.safetensors'));
  return bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString();
}

it('adapters for any layer open in PEFT with the same logits and without a warning', async () => {
  const cases: { model: string; folder: string; ours: number[] }[] = [];
  const configs: [keyof typeof folders, Partial<LoraOptions>, object?][] = [
    ['apart', { target_modules: both, r: 4, lora_alpha: 16, rank_pattern: { lm_head: 6 } }],
    ['apart', { target_modules: both }, { save_embedding_layers: false }],
    ['apart', { target_modules: ['lm_head'], use_rslora: true }],
    ['tied', { target_modules: ['embed_tokens'], layers_to_transform: [] }],
    ['apart', { target_modules: ['q_proj', 'up_proj'], layers_to_transform: [0, 2], exclude_modules: '.*2.*mlp.*' }],
    ['tied', { target_modules: ['lm_head'] }],
  ];
  for (const [name, config, options] of configs) {
    const peft = get_peft_model(models[name], new LoraConfig(config));
    randomise(peft);
    const folder = scratch('ours');
    await peft.save_pretrained(folder, options);
    cases.push({ model: folders[name], folder, ours: logits(models[name]) });
    peft.unload();
  }
  const results = peer<{ logits: number[]; warnings: string[] }[]>('lora_loaded', { cases, ids });
  for (const [i, { logits: theirs, warnings }] of results.entries()) {
    const what = JSON.stringify(configs[i]);
    expect(worst(cases[i].ours, theirs), what).toBeLessThan(1e-4);
    // of a tied layer PEFT warns whoever saved the adapter
    expect(
      warnings.filter((text) => !text.includes('tie_word_embeddings')),
      what,
    ).toEqual([]);
    // and it comes back here as it was
    const again = await PeftModel.from_pretrained(models[configs[i][0]], cases[i].folder);
    expect(logits(models[configs[i][0]])).toEqual(cases[i].ours);
    again.unload();
  }
});

it('20 steps beside head and table: each loss within 1e-3 of PEFT, also over a 4-bit base', async () => {
  const rows = Dataset.from_list(Array.from({ length: 24 }, (_, i) => chatRow(`What is ${i} plus one?`, `${i} plus one is ${i + 1}.`)));
  const tokenizer = tinyTokenizer();
  const common = { tokenizer, train: rows, steps: 20, dtype: 'float32' as const, lr: 5e-3 };
  const wide = await tinyLlama(8, { hidden_size: 64, intermediate_size: 64 });
  const results = await trainBoth([
    { ...common, path: folders.apart, lora: { target_modules: ['lm_head'], r: 4 } },
    { ...common, path: folders.apart, lora: { target_modules: ['embed_tokens'], r: 4 } },
    { ...common, path: folders.tied, lora: { target_modules: [...both, 'down_proj'], r: 4 } },
    {
      ...common,
      path: wide,
      lora: { target_modules: '.*_proj|lm_head', r: 4 },
      packed: {
        quantization_config: new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' }),
        folder: scratch('unpacked'),
      },
    },
  ]);
  for (const result of results) {
    expectSameTraining(result);
    expect(result.ours.losses.at(-1)!).toBeLessThan(result.ours.losses[0] - 0.01);
  }
});

it('an adapter that does not fit is refused, and leaves the model as it was', async () => {
  const peft = get_peft_model(models.apart, new LoraConfig({ target_modules: both }));
  const folder = scratch('adapter');
  await peft.save_pretrained(folder);
  peft.unload();
  const before = logits(models.apart);
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
  const opens = (changes: object) => {
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, ...changes }));
    return PeftModel.from_pretrained(models.apart, folder);
  };
  await expect(opens({ peft_type: 'XLORA' })).rejects.toThrow(/holds a 'XLORA' adapter/);
  await expect(opens({ task_type: 'TOKEN_CLS' })).rejects.toThrow(/cannot be used\. LoraConfig: task_type = 'TOKEN_CLS'/);
  await expect(opens({ bias: 'lora_only' })).rejects.toThrow(/bias = 'lora_only' would train/);
  await expect(opens({ r: 4 })).rejects.toThrow(/is \[8,32\], but the model needs \[4,32\]|is \[8,264\], but the model needs \[4,264\]/);
  await expect(opens({ target_modules: ['lm_head'] })).rejects.toThrow(/Unexpected: \d+ tensors/);
  await expect(opens({ target_modules: [...both, 'k_proj'] })).rejects.toThrow(/Missing: 6 tensors, such as .*k_proj/);
  const small = await load(await tinyLlama(7, { vocab_size: 260, num_hidden_layers: 3, tie_word_embeddings: false }));
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config));
  await expect(PeftModel.from_pretrained(small, folder)).rejects.toThrow(/is \[.*264.*\], but the model/);
  small.dispose();
  (await opens({ from_the_future: 1, auto_mapping: { a: 1 }, peft_version: '9', qalora_group_size: 4 })).unload();
  expect(logits(models.apart)).toEqual(before);
});
