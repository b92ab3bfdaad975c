import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { mergeCheck } from '../../src/evaluate/merge_check';
import {
  AutoModelForCausalLM,
  BitsAndBytesConfig,
  Dataset,
  evaluate,
  get_peft_model,
  inspect,
  LoraConfig,
  type PeftModel,
  SFTConfig,
  SFTTrainer,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { pairsIn } from '../../src/peft/lora_term';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const targets = ['embed_tokens', 'lm_head', 'v_proj'];
const folders: string[] = [];
beforeAll(async () => {
  for (const tie_word_embeddings of [true, false])
    folders.push(await tinyLlama(2, { tie_word_embeddings, hidden_size: 64, intermediate_size: 64 }));
});
const models: CausalLM[] = [];
afterAll(() => {
  for (const model of models) model.dispose();
});
async function load(folder: string, options: object = {}): Promise<CausalLM> {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false, ...options });
  models.push(model);
  return model;
}
const random = (peft: PeftModel<CausalLM>, scale: number) => {
  let seed = 1;
  for (const p of peft.namedParameters().values()) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, scale, 'float32', seed++)));
};
const row = [5, 9, 200, 3, 3, 7];
const logits = (model: CausalLM, ids = row) =>
  tf.tidy(() => Array.from(model.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).dataSync()));
const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));

for (const [i, name] of ['tied', 'apart'].entries()) {
  it(`beside head and table, ${name}: starts as the base, is used token by token as at once, and merges`, async () => {
    const model = await load(folders[i]);
    const before = logits(model);
    const peft = get_peft_model(model, new LoraConfig({ r: 4, target_modules: targets }));
    expect(logits(model)).toEqual(before);
    expect([...peft.namedParameters()].map(([n, p]) => [n.replace('base_model.model.', ''), p.shape]).slice(0, 2)).toEqual([
      ['model.embed_tokens.lora_embedding_A', [4, 264]],
      ['model.embed_tokens.lora_embedding_B', [64, 4]],
    ]);
    random(peft, 0.2);
    const changed = logits(model);
    expect(worst(changed, before)).toBeGreaterThan(0.1);
    const cache = model.newCache(16);
    const steps = row.flatMap((id) =>
      tf.tidy(() => Array.from(model.logits(model.hidden(tf.tensor2d([[id]], [1, 1], 'int32'), { cache }).reshape([1, 64])).dataSync())),
    );
    expect(worst(steps, changed)).toBeLessThan(1e-4);
    cache.dispose();
    expect(await peft.disable_adapter(() => logits(model))).toEqual(before);
    expect(await peft.disable_adapter(() => Promise.reject(new Error('stop'))).catch((e) => e.message)).toBe('stop');
    expect(logits(model)).toEqual(changed);
    const { drift, spread } = await mergeCheck(peft, row);
    expect(drift).toBeGreaterThan(0);
    expect(drift / spread).toBeLessThan(0.05); // bf16 rounds the merged matrices
    expect(logits(model)).toEqual(changed);
    const report = await inspect(peft);
    expect(report.modules.map((m) => m.name)).toContain('lm_head');
    const folder = scratch('adapter');
    await peft.save_pretrained(folder);
    const saved = await inspect(folder);
    expect(saved.modules.map((m) => m.name).sort()).toEqual(report.modules.map((m) => m.name).sort());
    expect(saved.data.notes.join(' ')).not.toContain('no low-rank pairs');
    peft.unload();
    expect(logits(model)).toEqual(before);
  });
}

it('a table that is freed or unfrozen is the tied head’s too, and is counted once', async () => {
  const model = await load(folders[0], { quantization_config: new BitsAndBytesConfig({ load_in_8bit: true }) });
  const names = [...model.namedTensors()].map(([name]) => name);
  expect(names.filter((name) => /embed_tokens|lm_head/.test(name))).toEqual(['model.embed_tokens.weight']);
  const before = logits(model);
  const table = [...model.namedModules()].find(([path]) => path === 'model.embed_tokens')![1];
  table.requires_grad_();
  expect(worst(logits(model), before)).toBeLessThan(1e-5);
  expect([...model.namedParameters().keys()]).toEqual(['model.embed_tokens.weight']);
  // beside an adapter nothing else is trained
  const peft = get_peft_model(model, new LoraConfig({ target_modules: ['lm_head'] }));
  expect(model.namedParameters().size).toBe(0);
  expect(peft.namedParameters().size).toBe(2);
  peft.unload();
});

it('stop and resume beside head and table equal the uninterrupted run bit for bit; no tensors are left', async () => {
  const rows = Dataset.from_list(Array.from({ length: 12 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`)));
  const output_dir = scratch('resume');
  const make = async (args: object) => {
    const model = await AutoModelForCausalLM.from_pretrained(folders[0], { progress: false });
    return new SFTTrainer({
      model,
      processing_class: tinyTokenizer(),
      train_dataset: rows,
      peft_config: new LoraConfig({ r: 4, lora_dropout: 0.2, target_modules: targets }),
      args: new SFTConfig({
        disable_tqdm: true,
        assistant_only_loss: true,
        learning_rate: 1e-2,
        max_steps: 6,
        save_steps: 3,
        output_dir,
        ...args,
      }),
    });
  };
  const whole = await make({ save_strategy: 'steps' });
  await whole.train();
  const again = await make({ save_strategy: 'no' });
  const before = tf.memory().numTensors;
  await again.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-3') });
  expect(tf.memory().numTensors - before).toBeLessThanOrEqual(2 * again.model.namedParameters().size);
  expect(again.run!.series.loss).toEqual(whole.run!.series.loss);
  for (const [name, p] of again.model.namedParameters())
    expect(Array.from(p.tensor.dataSync()), name).toEqual(Array.from(whole.model.namedParameters().get(name)!.tensor.dataSync()));
  const saved = readFileSync(join(output_dir, 'checkpoint-3', 'adapter_model.safetensors')).toString('latin1');
  expect(saved).toContain('lm_head.base_layer.weight');
  const { eval_loss } = await evaluate(whole.model, rows, { tokenizer: tinyTokenizer() });
  expect(eval_loss).toBeLessThan(whole.run!.series.loss[0][1]);
  for (const trainer of [whole, again]) {
    trainer.model.unload();
    trainer.model.base_model.dispose();
  }
});

it('new configs are refused with what is wrong', () => {
  const refuses = (options: object, error: RegExp) =>
    expect(() => new LoraConfig(options as Record<string, unknown>), JSON.stringify(options)).toThrow(error);
  for (const init_lora_weights of ['eva', 'corda', 'pissa_niter', 'anything', 3, null])
    refuses({ init_lora_weights }, /init_lora_weights = .* is not an initialisation that tunebook has: true, false, 'gaussian', 'pissa'/);
  expect(new LoraConfig({ init_lora_weights: 'Gaussian' as 'gaussian' }).init_lora_weights).toBe('Gaussian');
  refuses({ init_lora_weights: 'orthogonal', r: 3 }, /takes an even rank, but r is 3/);
  refuses({ lora_bias: true, use_dora: true }, /lora_bias = true does not go with use_dora/);
  refuses({ lora_bias: true, init_lora_weights: 'gaussian' }, /lora_bias = true does not go with init_lora_weights: 'gaussian'/);
  refuses({ loftq_config: { loftq_bits: 4 } }, /has no effect without init_lora_weights: 'loftq'/);
  refuses({ init_lora_weights: 'loftq', loftq_config: { loftq_bits: 3 } }, /loftq_bits of 4 or 8/);
  refuses({ init_lora_weights: 'loftq', loftq_config: { bits: 4 } }, /has bits; it can have loftq_bits and loftq_iter/);
  refuses({ peft_type: 'IA3' }, /peft_type is 'IA3', but a LoraConfig is of 'LORA'/);
  refuses({ task_type: 'TOKEN_CLS' }, /task_type = 'TOKEN_CLS' is not supported/);
  refuses({ inference_mode: true }, /inference_mode = true would freeze/);
  refuses({ use_rslora: 'yes' }, /use_rslora = 'yes' must be true or false/);
  refuses({ rank_pattern: { q_proj: 0 } }, /rank_pattern\['q_proj'\] must be a whole number of at least 1/);
  refuses({ alpha_pattern: { q_proj: -1 } }, /alpha_pattern\['q_proj'\] must be a number greater than 0/);
  refuses({ rank_pattern: { '(': 2 } }, /rank_pattern: '\(' is not a regular expression/);
  refuses({ target_modules: 3 }, /target_modules = 3 must be a string or a list of strings/);
  refuses({ exclude_modules: [3] }, /exclude_modules = \[3\] must be a string or a list/);
  refuses({ layers_to_transform: -1 }, /layers_to_transform = -1 must be the number of a layer/);
});

it('what names nothing is said: exclude_modules, patterns and layers too', async () => {
  const model = await load(folders[1]);
  const attach = (options: object) => () => get_peft_model(model, new LoraConfig({ target_modules: 'all-linear', ...options }));
  expect(attach({ exclude_modules: ['qproj'] })).toThrow(/exclude_modules 'qproj' matches no module of the model/);
  expect(attach({ exclude_modules: 'q_proj' })).toThrow(/exclude_modules 'q_proj' matches no module/);
  expect(attach({ rank_pattern: { lm_head: 4 } })).toThrow(/rank_pattern has 'lm_head', which fits none of the adapted modules/);
  expect(attach({ alpha_pattern: { nothing: 4 } })).toThrow(/alpha_pattern has 'nothing', which fits none/);
  const peft = attach({ exclude_modules: '.*_proj', target_modules: '.*(_proj|lm_head)' })();
  expect([...pairsIn(peft.attached).keys()]).toEqual(['lm_head']);
  await expect(peft.save_pretrained(scratch(), { save_embedding_layers: 'yes' as 'auto' })).rejects.toThrow(
    /save_embedding_layers is 'yes'/,
  );
  peft.unload();
});
