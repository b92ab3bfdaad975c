import { expect, it } from 'vitest';
import { withPrecision } from '../../src/engine/precision';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, get_peft_model } from '../../src/index';
import { needsOf, planMicroBatches } from '../../src/train/micro_batches';
import { tinyLlama } from '../tiny';

const TOKENS = 96;
/** What fused ops have room for, and what they have not. */
const CONFIGS = {
  LoRA: { peft_type: 'LORA', r: 4, target_modules: 'all-linear' },
  '(IA)^3': { peft_type: 'IA3' },
  '(IA)^3 that scales what two layers take': {
    peft_type: 'IA3',
    target_modules: ['k_proj', 'gate_proj'],
    feedforward_modules: ['gate_proj'],
  },
  'LN tuning': { peft_type: 'LN_TUNING' },
  'prompt tuning': { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 40 },
};

it('what a micro-batch is planned to take is what its forward pass keeps, whatever methods stand in the model', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(4, { hidden_size: 64, intermediate_size: 128 }), {
    progress: false,
  });
  const planned: Record<string, number> = {};
  for (const [name, config] of Object.entries(CONFIGS)) {
    const peft = get_peft_model(model, config as never);
    for (const precision of ['fp32', 'bf16'] as const) {
      const needs = needsOf(peft, TOKENS, precision);
      const kept = (tokens: number) =>
        tf.tidy(() => {
          const ids = tf.fill([1, tokens], 7, 'int32') as tf.Tensor2D;
          const recorded = withPrecision(precision, () => record(() => model.hidden(ids)));
          const { savedBytes } = recorded;
          recorded.dispose();
          return savedBytes / 4;
        });
      // Beside the blocks of this small model there are its embeddings and the last norm; rotations and tensors of the model do not count.
      const real = (kept(2 * TOKENS) - kept(TOKENS)) / TOKENS;
      expect(needs.floats[0] / real, `${name}, ${precision}`).toBeGreaterThan(0.65);
      expect(needs.floats[0] / real, `${name}, ${precision}`).toBeLessThan(1.02);
      expect(needs.prompt, name).toBe(name === 'prompt tuning' ? 40 : 0);
      planned[`${name} ${precision}`] = needs.floats[0];
    }
    peft.unload();
  }
  expect(planned['(IA)^3 fp32']).toBeLessThan(planned['LoRA fp32']);
  expect(planned['(IA)^3 that scales what two layers take fp32']).toBeGreaterThan(1.2 * planned['(IA)^3 fp32']);
  model.dispose();
});

it('a learned prompt counts in every micro-batch', () => {
  const MiB = 2 ** 20 / 4 / 1.3; // fp32 values
  const args = { memory_limit: 600, gradient_checkpointing: null };
  const needs = { floats: [MiB, MiB / 4] as [number, number], longest: 100, precision: 'fp32' as const };
  expect(planMicroBatches(args, { ...needs, prompt: 0 })).toEqual({ tokens: 512, recompute: false });
  expect(planMicroBatches(args, { ...needs, prompt: 200 })).toEqual({ tokens: 100, recompute: false }); // 512 would take 712 MiB
  expect(planMicroBatches(args, { ...needs, prompt: 600 })).toEqual({ tokens: 512, recompute: true }); // one row alone 700 MiB
  expect(() => planMicroBatches(args, { ...needs, prompt: 4000 })).toThrow(
    /One row of 100 tokens behind a learned prompt of 4000 needs about/,
  );
});
