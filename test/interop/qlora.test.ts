import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { BitsAndBytesConfig, Dataset } from '../../src/index';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { type Setting, trainBoth } from './train_both';

const NF4 = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true };
/** How far losses may be apart, by what both sides compute in. bitsandbytes' residual stream is rounded to bf16 too. */
const NEAR = { float32: 1e-3, bfloat16: 1e-2 };

it('QLoRA over NF4 with double quantisation: each loss of 20 steps as in PEFT over bitsandbytes, both from the file that is saved here', async () => {
  const rows = Dataset.from_list(Array.from({ length: 40 }, (_, i) => chatRow(`What is ${i} plus one?`, `It is ${i + 1}.`)));
  const path = await tinyLlama(12, { hidden_size: 64, intermediate_size: 128 });
  const dtypes = ['float32', 'bfloat16'] as const;
  const settings = dtypes.map((dtype): Setting => {
    const quantization_config = new BitsAndBytesConfig({ ...NF4, bnb_4bit_compute_dtype: dtype });
    const common = { path, tokenizer: tinyTokenizer(), train: rows, steps: 20, lr: 5e-3, dtype };
    return { ...common, packed: { quantization_config, folder: scratch('nf4') } };
  });
  const trained = await trainBoth(settings);
  for (const [i, { ours, theirs }] of trained.entries()) {
    const dtype = dtypes[i];
    const { quantization_config: saved } = JSON.parse(readFileSync(join(settings[i].packed?.folder as string, 'config.json'), 'utf8'));
    expect(saved).toMatchObject({ ...NF4, bnb_4bit_compute_dtype: dtype, quant_method: 'bitsandbytes' });
    expect(theirs.losses.length).toBe(20);
    for (const [step, loss] of theirs.losses.entries())
      expect(Math.abs(ours.losses[step] - loss), `${dtype}, step ${step + 1}: ${ours.losses[step]} here, ${loss} there`).toBeLessThan(
        NEAR[dtype],
      );
    expect(ours.losses.at(-1), 'it learns').toBeLessThan(ours.losses[0] - 0.05);
  }
});
