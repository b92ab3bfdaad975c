import { beforeAll, describe, expect, it } from 'vitest';
import { Handle } from '../../src/engine/backend';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM, generate, get_peft_model, IA3Config, LoraConfig, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { peer } from '../peer';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

/** A token that the tiny models do not write. */
const PAD = 263;
const ROWS = [[5, 6, 7, 8], [9], [20, 21, 22, 23, 24, 25, 26], [5, 6]];

interface Case {
  prompts?: number[][];
  options?: Record<string, unknown>;
  adapters?: string[];
}

const BEAMS: Record<string, unknown>[] = [
  { num_beams: 2 },
  { num_beams: 3, num_return_sequences: 3 },
  { num_beams: 4, length_penalty: -2, num_return_sequences: 2 },
  { num_beams: 4, length_penalty: 2.5, early_stopping: true, num_return_sequences: 4 },
  { num_beams: 4, length_penalty: 0, early_stopping: 'never' },
  { num_beams: 3, length_penalty: 1.5, early_stopping: 'never', num_return_sequences: 2 },
  { num_beams: 3, no_repeat_ngram_size: 2, repetition_penalty: 1.3 },
  { num_beams: 3, suppress_tokens: [1, 2, 3], renormalize_logits: true },
  { num_beams: 3, min_new_tokens: 6, num_return_sequences: 3 },
];

/** `end`: a token that the model writes early. */
function casesOf(end: number): Record<string, Case> {
  const ends = [end, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50];
  return {
    'rows of any lengths': { options: { max_new_tokens: 12 } },
    'rows that end at different places': { options: { max_new_tokens: 30, eos_token_id: ends } },
    'max_length counts the padding': { options: { max_length: 12 } },
    'min_length counts it too': { options: { max_new_tokens: 10, min_length: 12, eos_token_id: ends } },
    'the end token becomes likelier': {
      prompts: [ROWS[0]],
      options: { max_new_tokens: 40, eos_token_id: end, exponential_decay_length_penalty: [5, 1.3] },
    },
    ...Object.fromEntries(
      BEAMS.flatMap((options) =>
        [10, 7].map((max_new_tokens, i) => [
          `beams ${JSON.stringify(options)}${i ? ' with many end tokens' : ''}`,
          { options: { ...options, max_new_tokens, eos_token_id: i ? ends : end } },
        ]),
      ),
    ),
    ...Object.fromEntries(
      [{ stop_strings: ['!', 'W'] }, { stop_strings: 'a' }, { stop_strings: ['xyz', '\u0000', '1', '2', '3'], num_beams: 3 }].map(
        (options) => [`stops ${JSON.stringify(options)}`, { options: { max_new_tokens: 40, ...options } }],
      ),
    ),
    'an adapter for each row': { adapters: ['one', '__base__', 'two', 'two'], options: { max_new_tokens: 12 } },
    'and beams': { adapters: ['two', 'one', 'one', '__base__'], options: { max_new_tokens: 8, num_beams: 3 } },
  };
}

describe('answers are those of transformers', () => {
  let model: CausalLM;
  let peft: PeftModel<CausalLM>;
  let cases: Record<string, Case>;
  let theirs: number[][][];
  const tokenizer = tinyTokenizer();
  const files = scratch('tokenizer');
  const adapters = { one: scratch('one'), two: scratch('two') };

  beforeAll(async () => {
    const folder = await tinyLlama(20, { tie_word_embeddings: false });
    model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
    cases = casesOf((await generate(model, ROWS[0], { max_new_tokens: 6, eos_token_id: [] }))[5]);
    await tokenizer.save_pretrained(files);
    for (const [i, to] of Object.values(adapters).entries()) {
      const lora = new LoraConfig({
        r: 3 + i,
        lora_alpha: 24,
        target_modules: i ? 'all-linear' : ['q_proj', 'down_proj'],
        init_lora_weights: false,
      });
      const made = get_peft_model(model, lora, { seed: i });
      await made.save_pretrained(to);
      made.unload();
    }
    theirs = peer(
      'answers',
      {
        ...{ pad: PAD, tokenizer: files },
        cases: Object.values(cases).map(({ prompts = ROWS, options, adapters: names }) => ({
          ...{ folder, prompts },
          options: { ...options, ...(names && { adapter_names: names }) },
          ...(names && { adapters }),
        })),
      },
      'peer_answers.py',
    );
    peft = await PeftModel.from_pretrained(model, adapters.one, { adapter_name: 'one' });
    await peft.load_adapter(adapters.two, 'two');
    peft.set_adapter([]);
  });

  it('in batches, by beams, with stop strings and adapters by row', async () => {
    const before = [tf.memory().numTensors, Handle.nativeBytes];
    for (const [i, [what, { prompts = ROWS, options, adapters: names }]] of Object.entries(cases).entries()) {
      const made = await generate(model, prompts, { ...options, tokenizer, ...(names && { adapter_names: names }) });
      // The peer's rows end where padding does; a row that the model itself ends with that token is cut likewise.
      const cut = made.map((row) => row.slice(0, row.findLastIndex((id) => id !== PAD) + 1));
      expect(cut, what).toEqual(theirs[i]);
    }
    expect([tf.memory().numTensors, Handle.nativeBytes]).toEqual(before);
  });

  it('padding on either side is left out by its mask, and each row is written as it would be alone', async () => {
    const alone = await Promise.all(ROWS.map((row) => generate(model, row, { max_new_tokens: 9 })));
    const width = 9;
    for (const side of ['left', 'right']) {
      const pad = (row: number[], fill: number) =>
        side === 'left' ? [...Array(width - row.length).fill(fill), ...row] : [...row, ...Array(width - row.length).fill(fill)];
      const given = {
        input_ids: ROWS.map((row) => pad(row, PAD)),
        attention_mask: ROWS.map((row) => pad(Array(row.length).fill(1), 0)),
      };
      expect(await model.generate(given, { max_new_tokens: 9 })).toEqual(alone);
    }
    const sampled = { do_sample: true, max_new_tokens: 9, seed: 5, repetition_penalty: 1.4, presence_penalty: 0.3 };
    const [first] = await generate(model, ROWS, sampled);
    expect(first).toEqual(await generate(model, ROWS[0], sampled));
    const several = await generate(model, ROWS[0], { ...sampled, num_return_sequences: 3 });
    expect(several[0]).toEqual(first);
    expect(new Set(several.map(String)).size).toBe(3);
  });

  it('an adapter by row is the adapter alone, merged or not, and what the model wears stays', async () => {
    const options = { max_new_tokens: 10 };
    const made = await generate(model, ROWS, { ...options, adapter_names: ['one', 'two', '__base__', 'one'] });
    expect(peft.active_adapters).toEqual([]);
    const expected = [];
    for (const [i, names] of [['one'], ['two'], [], ['one']].entries()) {
      peft.set_adapter(names);
      expected.push(await peft.generate(ROWS[i], options));
    }
    expect(made).toEqual(expected);
    // Several at once add up, beside rows that name one; merged they are the same.
    peft.set_adapter(['one', 'two']);
    const both = await generate(model, ROWS[2], options);
    expect((await generate(model, [ROWS[2], ROWS[2]], { ...options, adapter_names: ['two', 'one'] }))[1]).not.toEqual(both);
    await peft.merge_adapter();
    expect(await generate(model, ROWS[2], options)).toEqual(both);
    await expect(generate(model, ROWS, { adapter_names: ['one', 'one', 'one', 'one'] })).rejects.toThrow(/merged.*unmerge_adapter/);
    peft.unmerge_adapter();
    peft.set_adapter([]);
    await expect(generate(model, ROWS, { adapter_names: ['one'] })).rejects.toThrow(/there are 4 rows/);
    await expect(generate(model, [ROWS[0]], { adapter_names: ['three'] })).rejects.toThrow(/no adapter called 'three'/);
  });

  it('adapters of other methods go by row too, by the model’s own ops', async () => {
    peft.add_adapter('scaled', new IA3Config({ target_modules: ['k_proj', 'down_proj'], feedforward_modules: ['down_proj'] }));
    peft.set_adapter('scaled');
    for (const parameter of peft.namedParameters().values()) parameter.assign(tf.keep(tf.mul(parameter.tensor, 1.7)));
    const options = { max_new_tokens: 6 };
    const alone = await peft.generate(ROWS[0], options);
    peft.set_adapter([]);
    const [scaled, two] = await generate(model, [ROWS[0], ROWS[2]], { ...options, adapter_names: ['scaled', 'two'] });
    expect(scaled).toEqual(alone);
    expect([two]).toEqual(await generate(model, [ROWS[2]], { ...options, adapter_names: ['two'] }));
  });
});
