import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { readGguf } from '../../src/formats/gguf';
import { AutoModelForCausalLM, Dataset, LoraConfig, type PeftModel, SFTConfig, SFTTrainer } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { weightFormats } from '../../src/quantize';
import { peer } from '../peer';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { ARCHITECTURES, BASE } from './architectures';

const IDS = [[3, 1, 4, 1, 5, 9, 2, 6]];
const logitsOf = (model: CausalLM) => tf.tidy(() => model.forward(tf.tensor2d(IDS, [1, 8], 'int32')).dataSync()) as Float32Array;

const cases = Object.entries(ARCHITECTURES).flatMap(([model_type, { configs }]) =>
  configs.map((config) => ({ seed: 1, config: { ...BASE, model_type, ...config }, ids: IDS, folder: scratch('gguf-models') })),
);

it('models of every architecture are the same after a way through GGUF, or refused by what it cannot hold', async () => {
  peer('tiny', { cases });
  const kept: Record<string, number> = {};
  let refused = 0;
  for (const { folder, config } of cases) {
    const what = JSON.stringify(config);
    const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
    const path = join(scratch('gguf-models'), 'model.gguf');
    const error = await model.save_pretrained_gguf(path, tinyTokenizer(), { quantization_method: 'f32' }).then(
      () => undefined,
      (reason: Error) => reason,
    );
    if (error) {
      refused++;
      expect(error.name, `${what}: ${error.stack}`).toBe('FileError');
      expect(error.message).toMatch(/save_pretrained instead/);
    } else {
      kept[config.model_type] = (kept[config.model_type] ?? 0) + 1;
      const read = await AutoModelForCausalLM.from_pretrained(path, { progress: false });
      const [a, b] = [logitsOf(model as CausalLM), logitsOf(read as CausalLM)];
      expect(
        a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0),
        what,
      ).toBeLessThan(1e-4);
      read.dispose();
    }
    model.dispose();
  }
  // Kinds of yarn, bases that grow, windows of some layers, biases that llama.cpp lacks: no more than these.
  expect(refused).toBeLessThan(cases.length / 2);
  // llama.cpp takes Gemma's scale from the size of its heads, and those of the table have another.
  expect(Object.keys(kept)).toEqual(Object.keys(ARCHITECTURES).filter((type) => !type.startsWith('gemma')));
});

/** Every kind of weight that GGUF has, as its matrices are packed. */
const METHODS = ['f32', 'f16', 'bf16', 'q8_0', 'q6_k', 'q5_k_m', 'q4_k_m', 'q4_k_s', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q3_k', 'q2_k'];

it('a file of each kind of weight stays packed in memory, answers as its unpacked values do, and LoRA learns on it as it is', async () => {
  const size = { hidden_size: 256, intermediate_size: 256, num_attention_heads: 4, num_key_value_heads: 2, num_hidden_layers: 1 };
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(2, size), { progress: false });
  const types = new Set<string>();
  for (const quantization_method of METHODS) {
    const path = await model.save_pretrained_gguf(join(scratch('kinds'), 'a.gguf'), tinyTokenizer(), { quantization_method });
    const { tensors } = await readGguf(path);
    for (const { type } of tensors.values()) types.add(type);
    const read = (await AutoModelForCausalLM.from_pretrained(path, { progress: false })) as CausalLM;
    const bytes = [...tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect(read.weightBytes(), quantization_method).toBe(bytes);
    const plain = await AutoModelForCausalLM.from_pretrained(path, { progress: false, dtype: 'float32' });
    const [packed, unpacked] = [logitsOf(read), logitsOf(plain as CausalLM)];
    const most = packed.reduce((worst, value, i) => Math.max(worst, Math.abs(value - unpacked[i])), 0);
    expect(most, quantization_method).toBeLessThan(1e-4);
    plain.dispose();
    const args = { output_dir: scratch('kinds'), max_steps: 6, learning_rate: 1e-2, lr_scheduler_type: 'constant', logging_steps: 1 };
    const trainer = new SFTTrainer({
      model: read,
      processing_class: tinyTokenizer(),
      train_dataset: Dataset.from_list([chatRow('Who?', 'Me')]),
      peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear' }),
      args: new SFTConfig({ ...args, save_strategy: 'no', report_to: 'none' }),
    });
    await trainer.train();
    const losses = trainer.state.log_history.flatMap(({ loss }) => (loss === undefined ? [] : [loss as number]));
    expect(losses.at(-1), `${quantization_method}: ${losses}`).toBeLessThan(losses[0] - 0.5);
    (trainer.model as PeftModel<CausalLM>).unload().dispose();
  }
  expect([...types].sort()).toEqual(weightFormats.flatMap(({ name, code }) => (code < 1000 ? [name] : [])).sort());
});
