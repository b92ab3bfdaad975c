import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { on } from '../../src/core/events';
import { Random } from '../../src/core/random';
import * as tf from '../../src/engine/tf';
import { readGguf } from '../../src/formats/gguf';
import { GenerationConfig } from '../../src/generate/generation_config';
import { generationSettings } from '../../src/generate/generation_settings';
import { candidates, constrain } from '../../src/generate/logits';
import { resolveModel } from '../../src/hub/resolve';
import { AutoModelForCausalLM, generate, get_peft_model, LoraConfig, PeftModel, pipeline } from '../../src/index';
import { ggufGenerationConfig } from '../../src/models/gguf_metadata';
import { peer } from '../peer';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const script = 'peer_models.py';
/** Of a tiny model that writes different tokens, and then repeats itself. */
const SEED = 20;
const quiet = { progress: false };
const prompt = [5, 6, 7, 8];

const load = (folder: string) => AutoModelForCausalLM.from_pretrained(folder, quiet);

/** A tiny model with these files of settings beside it. */
async function withSettings(generation?: object, config: object = {}, without: string[] = []): Promise<string> {
  const folder = await tinyLlama(SEED, { max_position_embeddings: 64, tie_word_embeddings: false });
  const path = join(folder, 'config.json');
  const json = { ...JSON.parse(readFileSync(path, 'utf8')), ...config };
  for (const name of without) delete json[name];
  writeFileSync(path, JSON.stringify(json));
  if (generation) writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generation));
  return folder;
}

it('processes logits as transformers does', async () => {
  const random = Random.seeded(9);
  const tokens = [1, 2, 3, 4, 1, 2, 3, 9, 9, 1, 2];
  const OPTIONS: Record<string, unknown>[] = [
    {},
    { repetition_penalty: 1.7 },
    { repetition_penalty: 0.6 },
    ...[1, 2, 3, 4, 20].map((no_repeat_ngram_size) => ({ no_repeat_ngram_size })),
    { bad_words_ids: [[7], [258], [1, 2, 30], [2, 31], [5, 32]] },
    { min_length: 12 },
    { min_length: 11 },
    { min_new_tokens: 3, eos_token_id: [7, 8] },
    { min_new_tokens: 2 },
    { suppress_tokens: [1, 5], begin_suppress_tokens: [6] },
    { forced_eos_token_id: 17 },
    { forced_eos_token_id: [17, 18], suppress_tokens: [17] },
    { exponential_decay_length_penalty: [1, 1.5], eos_token_id: [7, 9] },
    { do_sample: true },
    { do_sample: true, top_k: 0 },
    { do_sample: true, top_k: 5, temperature: 0.3 },
    { do_sample: true, top_k: 1000, temperature: 2.5 },
    ...[0.1, 0.5, 0.95].map((top_p) => ({ do_sample: true, top_k: 0, top_p })),
    { do_sample: true, top_k: 20, top_p: 0.8, temperature: 0.7 },
    ...[0.02, 0.3, 0.99].map((min_p) => ({ do_sample: true, top_k: 0, min_p })),
    ...[0.1, 0.5, 0.9].map((typical_p) => ({ do_sample: true, top_k: 0, typical_p })),
    { do_sample: true, top_k: 0, epsilon_cutoff: 0.01 },
    { do_sample: true, top_k: 0, eta_cutoff: 0.01 },
    // Beams keep two tokens at least, or one more than there are end tokens.
    ...[
      { top_k: 1 },
      { top_k: 0, top_p: 0.01 },
      { top_k: 0, min_p: 0.99 },
      { top_k: 0, typical_p: 0.05 },
      { top_k: 0, epsilon_cutoff: 0.9 },
    ].flatMap((rule) => [258, [258, 3, 4, 5]].map((eos_token_id) => ({ do_sample: true, num_beams: 2, eos_token_id, ...rule }))),
    {
      do_sample: true,
      top_k: 40,
      top_p: 0.9,
      min_p: 0.05,
      typical_p: 0.8,
      epsilon_cutoff: 0.005,
      eta_cutoff: 0.02,
      repetition_penalty: 1.2,
    },
  ];
  const cases = OPTIONS.flatMap((options) =>
    [0, 1].map((late) => {
      const logits = Array.from({ length: 264 }, () => Math.fround(random.normal() * 2));
      logits[11] = logits[12]; // a tie
      return { options, logits, tokens, prompt: late ? 8 : tokens.length, limit: late ? tokens.length + 1 : 40 };
    }),
  );
  const theirs = peer<(number | null)[][]>('processed', { model: await tinyLlama(1), cases }, script);
  const model = GenerationConfig.fromModelConfig({ eos_token_id: 258 });
  for (const [i, { options, logits, ...progress }] of cases.entries()) {
    const o = generationSettings(options, null, model);
    const row = Float32Array.from(logits);
    constrain(row, o, { ...progress, eos: new Set([o.eos_token_id ?? []].flat()) });
    const what = JSON.stringify(options);
    const left = [...theirs[i].entries()].filter(([, value]) => value !== null) as [number, number][];
    if (!o.do_sample) {
      for (const [id, value] of theirs[i].entries()) expect(row[id], `${what}: ${id}`).toBeCloseTo(value ?? Number.NEGATIVE_INFINITY, 5);
      continue;
    }
    const { ids, shares } = candidates(row, o, o.num_beams === 1 ? 1 : Array.isArray(o.eos_token_id) ? o.eos_token_id.length + 1 : 2);
    expect(
      [...ids].sort((a, b) => a - b),
      what,
    ).toEqual(left.map(([id]) => id));
    const best = Math.max(...left.map(([, value]) => value));
    const total = left.reduce((sum, [, value]) => sum + Math.exp(value - best), 0);
    for (const [id, value] of left)
      expect(Math.abs(shares[ids.indexOf(id)] - Math.exp(value - best) / total), `${what}: ${id}`).toBeLessThan(1e-5);
  }
});

interface Case {
  what: string;
  generation?: object;
  config?: object;
  without?: string[];
  options?: Record<string, unknown>;
  /** What our error says. */
  refused?: RegExp;
  warns?: RegExp;
}

/** `written` is what the model writes by itself. */
const casesFor = ([first, second, third, fourth]: number[]): Case[] => [
  { what: 'nothing said: 20 tokens', without: ['eos_token_id'] },
  { what: 'an end token in config.json alone', config: { eos_token_id: third } },
  { what: 'several', config: { eos_token_id: [fourth, third] } },
  { what: 'more end tokens in generation_config.json', config: { eos_token_id: fourth }, generation: { eos_token_id: [second, fourth] } },
  { what: 'none there: none at all', config: { eos_token_id: second }, generation: { bos_token_id: 1 } },
  { what: 'null there', config: { eos_token_id: second }, generation: { eos_token_id: null, max_new_tokens: 6 } },
  { what: 'the call’s own', generation: { eos_token_id: second }, options: { eos_token_id: third } },
  { what: 'max_length counts the prompt', generation: { max_length: 9 } },
  { what: 'max_length in the call', options: { max_length: 7 } },
  { what: 'max_new_tokens goes before it', generation: { max_length: 9, max_new_tokens: 3 } },
  { what: 'the call’s max_new_tokens before the model’s max_length', generation: { max_length: 9 }, options: { max_new_tokens: 8 } },
  { what: 'the call’s max_length and the model’s max_new_tokens', generation: { max_new_tokens: 3 }, options: { max_length: 9 } },
  { what: 'both in the call', options: { max_length: 9, max_new_tokens: 3 }, warns: /of max_new_tokens and max_length the first/ },
  {
    what: 'too small a max_length',
    options: { max_length: 4 },
    refused: /prompt has 4 tokens, and max_length, which counts them too, is 4/,
  },
  { what: 'min_new_tokens', generation: { eos_token_id: second, min_new_tokens: 4, max_new_tokens: 9 } },
  { what: 'min_length', generation: { eos_token_id: second, min_length: 7 }, options: { max_new_tokens: 9 } },
  { what: 'repetition_penalty', generation: { repetition_penalty: 3.5 } },
  { what: 'no_repeat_ngram_size', generation: { no_repeat_ngram_size: 1, max_new_tokens: 30 } },
  { what: 'suppress_tokens', generation: { suppress_tokens: [first, third] } },
  { what: 'begin_suppress_tokens', generation: { begin_suppress_tokens: [first] } },
  { what: 'bad_words_ids', generation: { bad_words_ids: [[first, second]] } },
  { what: 'forced_eos_token_id', generation: { forced_eos_token_id: 77, max_new_tokens: 5 } },
  { what: 'settings of sampling without sampling', generation: { temperature: 0.3, top_p: 0.5, top_k: 2, max_new_tokens: 5 } },
  { what: 'settings in config.json of older versions', config: { max_length: 8, repetition_penalty: 2.5 }, without: ['eos_token_id'] },
  { what: 'they do not count beside generation_config.json', config: { max_length: 8 }, generation: { repetition_penalty: 2.5 } },
  { what: 'a penalty that the call takes back', generation: { repetition_penalty: 3.5 }, options: { repetition_penalty: 1 } },
  {
    what: 'what has no effect',
    generation: { num_beams: 1, pad_token_id: 0, use_cache: false, length_penalty: 2.5, num_return_sequences: 1 },
  },
  {
    what: 'a field of its own',
    generation: { chat_format: 'chatml', max_new_tokens: 3 },
    warns: /generation_config.json has fields that neither.*chat_format/,
  },
];

interface Answer {
  made: number[];
  error?: string;
}
let cases: (Case & { folder: string; theirs: Answer })[];
const saves: { folder: string; theirs: string }[] = [];
const adapted = { folder: '', adapter: scratch('adapter'), theirs: [] as number[], before: [] as number[] };

/** All files of settings, and one process of Python for all of them. */
beforeAll(async () => {
  const model = await load(await withSettings(undefined, {}, ['eos_token_id']));
  const written = await model.generate(prompt, { max_new_tokens: 4 });
  expect(new Set(written).size).toBe(4); // so that each case says something
  adapted.folder = model.config._name_or_path;
  adapted.before = await model.generate(prompt);
  const peft = get_peft_model(model, new LoraConfig({ r: 4, lora_alpha: 32, target_modules: 'all-linear', init_lora_weights: false }), {
    seed: 3,
  });
  await peft.save_pretrained(adapted.adapter);
  peft.unload().dispose();
  const own = { eos_token_id: [258, 3], temperature: 0.6, top_p: 0.9, do_sample: true, _from_model_config: true, chat_format: 'x' };
  for (const settings of [withSettings(), withSettings(own), withSettings(undefined, { max_length: 30, repetition_penalty: 1.5 })])
    saves.push({ folder: await settings, theirs: scratch('save') });
  const table = await Promise.all(
    casesFor(written).map(async (c) => ({ ...c, folder: await withSettings(c.generation, c.config, c.without) })),
  );
  const [{ made }, ...theirs] = peer<Answer[]>(
    'generated',
    {
      cases: [
        { folder: adapted.folder, prompt, adapter: adapted.adapter },
        ...table.map(({ folder, options = {} }) => ({ folder, prompt, options })),
        ...saves.map(({ folder, theirs: save }) => ({ folder, prompt, save, options: { max_new_tokens: 1 } })),
      ],
    },
    script,
  );
  adapted.theirs = made;
  cases = table.map((c, i) => ({ ...c, theirs: theirs[i] }));
});

it('takes what the model’s files and the call say as transformers does, and stops where it stops', async () => {
  const said: string[] = [];
  const off = on('warning', ({ text }) => said.push(text));
  for (const { what, folder, options, refused, warns, theirs } of cases) {
    said.length = 0;
    const model = await load(folder);
    const answer = generate(model, prompt, options as object);
    if (refused) {
      await expect(answer, what).rejects.toThrow(refused);
      expect(theirs.error, what).toMatch(/max_length/);
    } else expect(await answer, what).toEqual(theirs.made);
    expect(said.join('\n'), what).toMatch(warns ?? /^$/);
    model.dispose();
  }
  off();
});

it('what it lacks is refused where a call asks for it, and named where a file does', async () => {
  const lacking = {
    guidance_scale: 1.5,
    encoder_repetition_penalty: 2,
    top_h: 0.4,
    cache_implementation: 'quantized',
  };
  const plain = await load(await withSettings({ max_new_tokens: 2 }));
  const said: string[] = [];
  const off = on('warning', ({ text }) => said.push(text));
  for (const [name, value] of Object.entries(lacking)) {
    await expect(generate(plain, prompt, { do_sample: true, [name]: value }), name).rejects.toThrow(
      new RegExp(`generate: ${name} = .*does not have`),
    );
    await expect(generate(plain, prompt, { do_sample: true, generation_config: { [name]: value } }), name).rejects.toThrow(name);
  }
  await generate(plain, prompt, { top_h: 0.4 } as object); // nothing is drawn
  expect(said).toEqual([]);
  const other = await load(await withSettings({ ...lacking, max_new_tokens: 2 }));
  expect(await generate(other, prompt)).toEqual(await generate(plain, prompt));
  for (const name of Object.keys(lacking))
    expect(
      said.some((text) => text.includes(`generation_config sets ${name} =`)),
      name,
    ).toBe(name !== 'top_h');
  off();
  await expect(generate(plain, prompt, { temperature: 0, do_sample: true })).rejects.toThrow(
    /generate: temperature must be a number greater than 0/,
  );
  plain.generation_config.temperature = 0;
  await expect(generate(plain, prompt, { do_sample: true })).rejects.toThrow(/model's generation_config: temperature/);
  await expect(generate(plain, prompt, { eos_token_id: 'end' as never })).rejects.toThrow(/eos_token_id is 'end'; it is a token id/);
  for (const [options, text] of [
    [{ num_return_sequences: 2 }, /num_return_sequences is 2; the likeliest answer is one/],
    [{ num_beams: 2, num_return_sequences: 3 }, /no more answers than beams: num_beams is 2/],
    [{ num_beams: 2, early_stopping: 'soon' }, /early_stopping is 'soon'; it is true, false or 'never'/],
    [{ num_beams: 0 }, /num_beams must be a whole number of at least 1/],
    [{ stop_strings: [''] }, /stop_strings is .*; it is a text or a list of texts/],
    [{ stop_strings: 'x' }, /stop_strings needs the tokenizer/],
    [{ num_beams: 2, streamer: { put() {}, end() {} } }, /a streamer writes one answer/],
    [{ exponential_decay_length_penalty: [3] }, /it is \[start, factor\]/],
  ] as const)
    await expect(generate(plain, prompt, options as object)).rejects.toThrow(text);
  await expect(generate(plain, { input_ids: [prompt, prompt], attention_mask: [[1]] })).rejects.toThrow(/attention_mask has not the shape/);
  await expect(generate(plain, { input_ids: [prompt, ['a']] as never })).rejects.toThrow(/a row of token ids or a list of rows/);
  await expect(generate(plain, prompt, { bad_words_ids: [3] as never })).rejects.toThrow(/list of lists/);
  expect(() => new GenerationConfig({ max_new_token: 3 })).toThrow(/Did you mean max_new_tokens/);
  for (const model of [plain, other]) model.dispose();
});

it('draws as generation_config.json says, with its shares', async () => {
  const settings = { do_sample: true, temperature: 0.5, top_k: 4, top_p: 0.9, max_new_tokens: 1 };
  const model = await load(await withSettings(settings));
  const logits = tf.tidy(() => {
    const all = model.forward(tf.tensor2d([prompt], [1, prompt.length], 'int32'));
    return all.slice([0, prompt.length - 1, 0], [1, 1, -1]).dataSync() as Float32Array;
  });
  const { ids, shares } = candidates(logits, settings);
  expect(ids.length).toBeGreaterThan(1);
  const count = new Map<number, number>();
  const draws = 1500;
  for (let seed = 0; seed < draws; seed++) {
    const [token] = await model.generate(prompt, { seed });
    count.set(token, (count.get(token) ?? 0) + 1);
  }
  expect([...count.keys()].sort()).toEqual([...ids].sort());
  for (const [i, id] of ids.entries()) expect(Math.abs((count.get(id) as number) / draws - shares[i]), `token ${id}`).toBeLessThan(0.05);
  model.dispose();
});

it('saves generation_config.json as transformers does', async () => {
  const read = (folder: string) => {
    const { transformers_version: _, ...json } = JSON.parse(readFileSync(join(folder, 'generation_config.json'), 'utf8'));
    return json;
  };
  for (const { folder, theirs } of saves) {
    const model = await load(folder);
    const saved = scratch('save');
    await model.save_pretrained(saved);
    expect(read(saved)).toEqual(read(theirs));
    expect(Object.keys(JSON.parse(readFileSync(join(saved, 'config.json'), 'utf8')))).not.toContain('repetition_penalty');
    model.dispose();
  }
});

it('end tokens and sampling settings of a GGUF file are its generation config', async () => {
  const token = (key: string, id: number): [string, number] => [`tokenizer.ggml.${key}_token_id`, id];
  const metadata = new Map([
    token('bos', 1),
    token('eos', 2),
    token('eot', 7),
    token('eom', 2),
    ['general.sampling.temp', 0.6] as [string, number],
  ]);
  expect(ggufGenerationConfig(metadata)).toMatchObject({ bos_token_id: 1, eos_token_id: [2, 7], temperature: 0.6 });
  expect(ggufGenerationConfig(new Map([token('eos', 2)]))).toMatchObject({ eos_token_id: 2 });
  const smol = await readGguf((await resolveModel('HuggingFaceTB/SmolLM2-135M-Instruct')).path);
  expect(ggufGenerationConfig(smol.metadata)).toMatchObject({ bos_token_id: 1, eos_token_id: 2 });
});

it('a model with an adapter generates as in PEFT, by each way of calling it', async () => {
  const { folder, adapter, theirs: made, before } = adapted;
  expect(made).not.toEqual(before);
  const model = await load(folder);
  const peft = await PeftModel.from_pretrained(model, adapter);
  expect(await generate(peft, prompt)).toEqual(made);
  expect(await peft.generate(prompt)).toEqual(made);
  expect(await peft.generate(prompt, { max_new_tokens: 3 })).toEqual(made.slice(0, 3));
  expect(await model.generate(prompt)).toEqual(made);
  expect(await peft.disable_adapter(() => peft.generate(prompt))).toEqual(before);
  const tokenizer = tinyTokenizer();
  const text = tokenizer.decode(prompt);
  for (const each of [peft, model]) {
    const [{ generated_text }] = await (await pipeline('text-generation', each, { tokenizer }))(text, {
      return_full_text: false,
      max_new_tokens: 20,
    });
    expect(generated_text).toBe(tokenizer.decode(await generate(peft, tokenizer.encode(text)), { skip_special_tokens: true }));
  }
  peft.unload();
  expect(await generate(model, prompt)).toEqual(before);
  model.dispose();
});
