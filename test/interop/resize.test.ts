import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { readSafetensors } from '../../src/formats/safetensors';
import { AutoModelForCausalLM, AutoTokenizer, get_peft_model, LoraConfig, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { type Matrix, Parameter } from '../../src/nn';
import { peer } from '../peer';
import { scratch, tinyTokenizer } from '../tiny';
import { BASE } from './architectures';

const undropped = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, bos_token_id: 1, eos_token_id: 2 };
const CASES = [
  { config: { model_type: 'llama', tie_word_embeddings: true }, rows: 271, targets: ['q_proj', 'v_proj'] },
  { config: { model_type: 'llama', tie_word_embeddings: false }, rows: 280, targets: ['q_proj', 'embed_tokens', 'lm_head'] },
  { config: { model_type: 'qwen2', num_key_value_heads: 4, tie_word_embeddings: false }, rows: 250, targets: ['q_proj'] },
  { config: { model_type: 'gpt2', ...undropped }, rows: 271, targets: ['c_attn'] },
].map(({ config, ...rest }) => ({ ...rest, config: { ...BASE, ...config }, folder: scratch('base'), theirs: scratch('theirs') }));
const ids = [3, 1, 4, 1, 5, 249, 2, 6];

const values = (matrix: Matrix) =>
  tf.tidy(() => Float32Array.from((matrix instanceof Parameter ? matrix.tensor : matrix.dequantize()).dataSync()));
const logitsOf = (model: CausalLM) => tf.tidy(() => Float32Array.from(model.forward(tf.tensor2d([ids], [1, 8], 'int32')).dataSync()));
const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), a.length === b.length ? 0 : Number.NaN);

it('resized tables and heads are those of transformers, and open there and in PEFT, beside adapters too', async () => {
  const theirs = peer<{ rows: number[][]; vocab_size: number; logits: number[] }[]>('begin', { ids, cases: CASES }, 'peer_resize.py');
  const made: object[] = [];
  const ours: { resized: Float32Array; adapted: Float32Array }[] = [];
  for (const [i, { folder, config, rows, targets, theirs: adapter }] of CASES.entries()) {
    const what = JSON.stringify({ config, rows });
    const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
    const count = model.numParameters();
    const words = config.vocab_size;
    await model.resize_token_embeddings(rows);
    const matrices = 'tie_word_embeddings' in config && !config.tie_word_embeddings ? 2 : 1;
    expect(model.numParameters() - count, what).toBe(matrices * (rows - words) * config.hidden_size);
    expect(model.config.vocab_size).toBe(theirs[i].vocab_size);
    // new rows there have noise of 3e-5 of their spread
    for (const [j, layer] of model.tokenLayers.entries()) expect(worst(theirs[i].rows[j], values(layer.weight)), what).toBeLessThan(1e-5);
    const resized = scratch('resized');
    await model.save_pretrained(resized);
    const bare = logitsOf(model);
    const peft = get_peft_model(model, new LoraConfig({ target_modules: targets, init_lora_weights: false }));
    const to = scratch('ours');
    await peft.save_pretrained(to);
    const adapted = logitsOf(model);
    expect(
      [...(await readSafetensors(`${to}/adapter_model.safetensors`)).tensors.keys()].filter((name) => !/lora_/.test(name)).length,
    ).toBe(matrices);
    ours.push({ resized: bare, adapted });
    made.push({ folder, rows, ours: to, resized });
    await expect(model.resize_token_embeddings(rows + 1)).rejects.toThrow(/has an adapter. Resize the model first/);
    model.dispose();
    const again = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
    await expect(PeftModel.from_pretrained(again, adapter)).rejects.toThrow(
      new RegExp(`resize_token_embeddings\\(${rows}\\)|is \\[8,${rows}\\], but`),
    );
    await again.resize_token_embeddings(rows);
    await PeftModel.from_pretrained(again, adapter);
    expect(worst(theirs[i].logits, logitsOf(again)), what).toBeLessThan(1e-4);
    again.dispose();
  }
  type End = { resized: number[]; adapted: number[]; warnings: string[] };
  for (const [i, { resized, adapted, warnings }] of peer<End[]>('end', { ids, cases: made }, 'peer_resize.py').entries()) {
    expect(worst(resized, ours[i].resized)).toBeLessThan(1e-4);
    expect(worst(adapted, ours[i].adapted)).toBeLessThan(1e-4);
    expect(warnings).toEqual([]);
  }
});

it('a packed table takes new rows, and refuses what is no number of tokens', async () => {
  const base = 'HuggingFaceTB/SmolLM2-135M-Instruct';
  const [model, tokenizer] = [
    await AutoModelForCausalLM.from_pretrained(base, { progress: false }),
    await AutoTokenizer.from_pretrained(base),
  ];
  const before = logitsOf(model);
  expect(tokenizer.add_tokens(['<tune>', '<book>'])).toBe(2);
  await model.resize_token_embeddings(tokenizer.length, { pad_to_multiple_of: 64 });
  expect(model.config.vocab_size).toBe(49216);
  const after = logitsOf(model);
  const [old, now] = [before.length / 8, after.length / 8];
  for (let i = 0; i < 8; i++) expect(worst(before.slice(i * old, (i + 1) * old), after.slice(i * now, i * now + old))).toBeLessThan(1e-4);
  const [id] = tokenizer.encode('<book>', { add_special_tokens: false });
  expect(id).toBe(49153);
  expect(Array.from(after.slice(id, id + 1)).every(Number.isFinite)).toBe(true);
  await expect(model.resize_token_embeddings(0)).rejects.toThrow(/new_num_tokens must be .* but is 0/);
  await expect(model.resize_token_embeddings(10, { mean_resizing: false })).rejects.toThrow(/mean_resizing/);
  model.dispose();
});

it('tokens that are added are found as in Python and saved', () => {
  const tokenizer = tinyTokenizer();
  const count = tokenizer.length;
  expect(tokenizer.add_special_tokens({ pad_token: '<pad!>', extra_special_tokens: ['<a>', '<b>'] })).toBe(3);
  expect(tokenizer.length).toBe(count + 3);
  expect(tokenizer.pad_token_id).toBe(count);
  expect(tokenizer.decode(tokenizer.encode('x<a>y'), { skip_special_tokens: true })).toBe('xy');
  expect(tokenizer.add_tokens('<a>')).toBe(1); // now as text
  expect(tokenizer.add_tokens('<a>')).toBe(0);
  expect(() => tokenizer.add_special_tokens({ padding: 'x' } as never)).toThrow(
    /"padding" is no special token|'padding' is no special token/,
  );
});
