import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { GEMMA } from '../../src/hub/packaged';
import { resolveModel } from '../../src/hub/resolve';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, generate } from '../../src/index';
import { peer } from '../peer';
import { chatRow, scratch } from '../tiny';
import { expectSameTraining, trainBoth } from './train_both';

const TEXTS = ['The capital of France is', 'def fibonacci(n):\n    """Return', 'Überraschung! 東京 ist die Hauptstadt von 日本 🙂'];
const TURNS = '{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}';

it('Gemma 3 270M, packed as Q4_K, Q5_0, Q6_K and Q8_0: logits within 2e-3 of transformers on the same weights, greedy tokens the same', async () => {
  const [model, tokenizer] = [
    await AutoModelForCausalLM.from_pretrained(GEMMA, { progress: false }),
    await AutoTokenizer.from_pretrained(GEMMA),
  ];
  expect(model.config).toMatchObject({ model_type: 'gemma3_text', vocab_size: 262_144, sliding_window: 512, num_hidden_layers: 18 });
  expect(model.numParameters()).toBe(268_098_176);
  expect(model.weightBytes()).toBeLessThan(253_113_024);
  const folder = scratch('logits');
  const rows = TEXTS.map((text, i) => {
    const ids = tokenizer.encode(text);
    expect(ids[0]).toBe(2);
    const logits = tf.tidy(() => model.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).dataSync() as Float32Array);
    writeFileSync(join(folder, `${i}.bin`), new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
    return { ids, logits: join(folder, `${i}.bin`) };
  });
  const made: number[][] = [];
  for (const { ids } of rows) made.push(await generate(model, ids, { max_new_tokens: 12, eos_token_id: [] }));
  const { path } = await resolveModel(GEMMA);
  const theirs = peer<{ difference: number; made: number[]; margins: number[] }[]>('smol', { model: path, rows, steps: 12 });
  for (const [i, { difference, made: expected, margins }] of theirs.entries()) {
    expect(difference, TEXTS[i]).toBeLessThan(2e-3);
    const at = made[i].findIndex((id, j) => id !== expected[j]);
    if (at >= 0) expect(margins[at], `${TEXTS[i]}: position ${at}`).toBeLessThan(0.6);
  }
  model.dispose();
});

it('Gemma 3 270M learns with LoRA on its packed weights as in PEFT on the same, and its loss falls', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained(GEMMA);
  tokenizer.chat_template = TURNS;
  const train = Dataset.from_list([chatRow('What is 2 plus 2?', 'It is 4.'), chatRow('Who wrote Faust?', 'Goethe wrote it.')]);
  const { path } = await resolveModel(GEMMA);
  const [both] = await trainBoth([{ path, tokenizer, train, steps: 6, dtype: 'float32', lr: 1e-3, lora: { r: 4, lora_alpha: 8 } }]);
  expectSameTraining(both);
  expect(both.ours.losses.at(-1)).toBeLessThan(0.7 * both.ours.losses[0]);
});
