import Ajv from 'ajv';
import { beforeAll, expect, it } from 'vitest';
import { AutoModelForCausalLM, generate, pipeline } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { tinyLlama, tinyTokenizer } from '../tiny';

let model: CausalLM;
const tokenizer = tinyTokenizer({}, undefined, ['{"', '":', 'true', '"}', ' 🙂']);
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(2, { tie_word_embeddings: false }), { progress: false });
});

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 5 },
    tags: { type: 'array', items: { enum: ['red', 'green'] }, maxItems: 2 },
    age: { type: 'integer', minimum: 18, maximum: 99 },
    ok: { type: 'boolean' },
  },
  required: ['name', 'age'],
  additionalProperties: false,
};

it('JSON that a schema describes, one of several texts, and what a pattern matches: drawn, likeliest and by beams', async () => {
  const fits = new Ajv().compile(schema);
  const options = { max_new_tokens: 120, tokenizer, eos_token_id: 258 };
  const text = (ids: number[]) => tokenizer.decode(ids, { skip_special_tokens: true });
  const drawn = await generate(model, [5, 6], {
    ...options,
    ...{ structured_outputs: { json: schema }, do_sample: true, temperature: 1.5, top_k: 0, num_return_sequences: 40 },
  });
  for (const ids of drawn) expect(fits(JSON.parse(text(ids))), text(ids)).toBe(true);
  expect(new Set(drawn.map(text)).size).toBeGreaterThan(30);
  const choice = ['yes', 'no', 'perhaps', 'no 🙂'];
  const chosen = await generate(model, [5], {
    ...options,
    structured_outputs: { choice },
    do_sample: true,
    top_k: 0,
    num_return_sequences: 60,
  });
  expect(new Set(chosen.map(text))).toEqual(new Set(choice));
  for (const more of [{}, { num_beams: 3, num_return_sequences: 3 }]) {
    const made = await generate(model, [[7], [8, 9]], { ...options, ...more, structured_outputs: { regex: /[a-f]{2}-\d{3}(,x)?/ } });
    for (const ids of made) expect(text(ids)).toMatch(/^[a-f]{2}-\d{3}(,x)?$/);
    expect(new Set(made.map(String)).size).toBe(made.length);
  }
  // Over without an end token, as soon as nothing can follow.
  const [over] = await generate(model, [[7]], { ...options, eos_token_id: [], structured_outputs: { choice: ['abc'] } });
  expect(text(over)).toBe('abc');
  const ask = await pipeline('text-generation', model, { tokenizer });
  const [{ generated_text }] = await ask([{ role: 'user', content: 'hi' }], { structured_outputs: { choice }, return_full_text: false });
  expect(choice).toContain(generated_text);
});

it('wrong forms are refused', async () => {
  const bad = (structured_outputs: object | null, text: RegExp, more = {}) =>
    expect(generate(model, [5], { tokenizer, structured_outputs, ...more } as object)).rejects.toThrow(text);
  await bad({}, /it is one of \{ json \}/);
  await bad({ choice: ['a'], regex: 'b' }, /it is one of/);
  await bad({ choice: [] }, /a list of texts/);
  await bad({ json: '{' }, /no JSON text/);
  await bad({ jsn: {} }, /Did you mean json/);
  await bad({ choice: ['a'] }, /needs the tokenizer/, { tokenizer: null });
});
