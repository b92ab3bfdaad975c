import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, Dataset, get_peft_model, LoraConfig, PeftModel, SFTConfig, SFTTrainer } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { answers } from '../llama';
import { peer } from '../peer';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const QUESTIONS = ['Who?', 'What is it', 'naïve 漢字 🙂'];
const ANSWERS = ['An answer of its own.', 'Nothing but 123 numbers', 'ünïcode, 東京 too 🙂!'];
const tokenizer = tinyTokenizer();
const prompts = QUESTIONS.map((content) =>
  tokenizer.apply_chat_template([{ role: 'user', content }], { tokenize: false, add_generation_prompt: true }),
);

/** A small model that has learned its answers by heart, so that what it says hangs on no rounding. */
async function learned(config = {}): Promise<CausalLM> {
  const size = { hidden_size: 256, intermediate_size: 512, num_attention_heads: 4, num_key_value_heads: 2, tie_word_embeddings: false };
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(5, { ...size, ...config }), {
    progress: false,
    dtype: 'float32',
  });
  const args = { max_steps: 40, learning_rate: 2e-3, lr_scheduler_type: 'constant', per_device_train_batch_size: 3, logging_steps: 100 };
  const trainer = new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: Dataset.from_list(QUESTIONS.map((question, i) => chatRow(question, ANSWERS[i]))),
    args: new SFTConfig({ output_dir: scratch('gguf'), save_strategy: 'no', report_to: 'none', assistant_only_loss: false, ...args }),
  });
  await trainer.train();
  return model as CausalLM;
}

const ours = async (model: CausalLM, prompt: string) =>
  tokenizer.decode(await model.generate(tokenizer.encode(prompt), { max_new_tokens: 40, do_sample: false }), { skip_special_tokens: true });

it('llama.cpp loads what is written, packed in each way, with its tokenizer and template, and answers the same', async () => {
  const model = await learned();
  for (const prompt of prompts) expect(ANSWERS).toContain(await ours(model, prompt));
  const folder = scratch('gguf');
  for (const quantization_method of ['f16', 'bf16', 'q8_0', 'q4_k_m', 'q4_0']) {
    const path = await model.save_pretrained_gguf(folder, tokenizer, { quantization_method });
    expect(path.endsWith(`.${quantization_method.toUpperCase()}.gguf`)).toBe(true);
    const read = await AutoModelForCausalLM.from_pretrained(path, { progress: false });
    const own = await Promise.all(prompts.map((prompt) => ours(read, prompt)));
    const theirs = await answers(path, prompts, { tokens: 60 });
    expect(
      theirs.map(({ text }) => text),
      quantization_method,
    ).toEqual(own);
    expect(theirs.map(({ ids }) => ids)).toEqual(prompts.map((prompt) => tokenizer.encode(prompt)));
    expect(theirs.map(({ end }) => end)).toEqual(prompts.map(() => tokenizer.eos_token_id));
    if (quantization_method === 'q4_0') {
      // The same in parts, as gguf's own writer makes them.
      const parts = peer<string[]>('gguf_split', { path, to: join(folder, 'parts.gguf'), tensors: 9 }, 'peer_formats.py');
      expect(parts.length).toBe(3);
      const whole = await AutoModelForCausalLM.from_pretrained(join(folder, parts[0]), { progress: false });
      expect(await Promise.all(prompts.map((prompt) => ours(whole, prompt)))).toEqual(own);
      whole.dispose();
    }
    read.dispose();
  }
});

it('a LoRA adapter is what convert_lora_to_gguf makes of it, both ways; llama.cpp answers with it as we do; what it cannot hold is refused', async () => {
  const model = await learned({ tie_word_embeddings: true });
  const folder = scratch('gguf-lora');
  const whole = await model.save_pretrained_gguf(join(folder, 'base.gguf'), tokenizer, { quantization_method: 'f32' });
  const lora = new LoraConfig({ r: 8, lora_alpha: 16, target_modules: 'all-linear', rank_pattern: { 'layers.1.mlp.up_proj': 4 } });
  const trainer = new SFTTrainer({
    model,
    peft_config: lora,
    processing_class: tokenizer,
    train_dataset: Dataset.from_list(QUESTIONS.map((question, i) => chatRow(question, ANSWERS[(i + 1) % 3]))),
    args: new SFTConfig({
      output_dir: scratch('gguf'),
      save_strategy: 'no',
      report_to: 'none',
      max_steps: 40,
      learning_rate: 5e-3,
      per_device_train_batch_size: 3,
    }),
  });
  await trainer.train();
  const peft = trainer.model as PeftModel<CausalLM>;
  await peft.save_pretrained(join(folder, 'peft'));
  const file = await peft.save_pretrained_gguf(folder);
  expect(readFileSync(join(folder, 'Modelfile'), 'utf8')).toContain(`ADAPTER ./${basename(file)}`);
  const said = await Promise.all(prompts.map((prompt) => ours(model, prompt)));
  expect(new Set(said)).toEqual(new Set(ANSWERS));
  const theirs = await answers(whole, prompts, { tokens: 60, adapter: file });
  expect(theirs.map(({ text }) => text)).toEqual(said);

  const ids = tf.tensor2d([tokenizer.encode(prompts[0])], undefined, 'int32');
  const logits = () => tf.tidy(() => model.forward(ids).dataSync()) as Float32Array;
  const wanted = logits();
  const worst = () => logits().reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
  for (const half of [false, true]) {
    const made = join(folder, `theirs-${half}.gguf`);
    const compared = peer('gguf_lora', { adapter: join(folder, 'peft'), ours: file, theirs: made, half }, 'peer_formats.py');
    const fields = { 'general.architecture': 'llama', 'general.type': 'adapter', 'adapter.type': 'lora', 'adapter.lora.alpha': 16 };
    if (!half) expect(compared).toEqual({ names: true, worst: 0, fields });
    const read = await PeftModel.from_pretrained(model, made);
    expect(worst(), `fp16: ${half}`).toBeLessThan(half ? 5e-2 : 1e-5);
    expect(read.active_peft_config).toMatchObject({ r: 8, lora_alpha: 16, rank_pattern: { 'model\\.layers\\.1\\.mlp\\.up_proj': 4 } });
  }
  await (await PeftModel.from_pretrained(model, file)).unload();
  for (const [options, why] of [
    [{ target_modules: ['q_proj', 'lm_head'] }, /cannot hold lm_head.*Merge it first/],
    [{ target_modules: ['q_proj', 'embed_tokens'] }, /cannot hold model.embed_tokens.*Merge it first/],
    [{ target_modules: ['q_proj'], modules_to_save: ['norm'] }, /cannot hold whole modules.*Merge it first/],
  ] as const)
    await expect(
      get_peft_model(
        model,
        new LoraConfig({
          ...options,
          target_modules: [...options.target_modules],
          modules_to_save: 'modules_to_save' in options ? [...options.modules_to_save] : null,
        }),
      ).save_pretrained_gguf(folder),
    ).rejects.toThrow(why);
  const rs = get_peft_model(model, new LoraConfig({ r: 4, use_rslora: true, init_lora_weights: false }));
  const before = logits();
  const written = await rs.save_pretrained_gguf(join(folder, 'rs.gguf'));
  await PeftModel.from_pretrained(model, written);
  const after = logits();
  expect(before.reduce((most, value, i) => Math.max(most, Math.abs(value - after[i])), 0)).toBeLessThan(1e-3);
  ids.dispose();
});
