import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { type GgufValue, readGguf } from '../../src/formats/gguf';
import { resolveModel } from '../../src/hub/resolve';
import { convertGguf } from '../../src/tokenizers/gguf';
import { PRE_TOKENIZERS } from '../../src/tokenizers/gguf_pre';
import { Tokenizer } from '../../src/tokenizers/tokenizer';
import { peer } from '../peer';
import { mixedTexts } from '../texts';
import { scratch } from '../tiny';
import { vocabulary } from '../vocabulary';

/** Vocabularies of the families, written as llama.cpp's convert_hf_to_gguf.py writes them; the truth is their own tokenizer.json. */
interface Case {
  name: string;
  source: string;
  pre: string;
  model: 'gpt2' | 'llama';
  architecture: string;
  /** Rows beyond the vocabulary. */
  padded: number;
  add_space_prefix?: boolean;
  /** As a file converted without tokenizer.model has them. */
  no_scores?: boolean;
}
const bytes = { model: 'gpt2', architecture: 'llama', padded: 0 } as const;
const pieces = { model: 'llama', architecture: 'llama', pre: 'default', padded: 0 } as const;
const CASES: Case[] = [
  { ...bytes, name: 'llama-bpe', source: vocabulary('llama3'), pre: 'llama-bpe' },
  { ...bytes, name: 'qwen2', source: vocabulary('qwen3'), pre: 'qwen2', architecture: 'qwen3', padded: 267 },
  { ...bytes, name: 'gpt-2', source: vocabulary('gpt2'), pre: 'gpt-2' },
  { ...bytes, name: 'smollm', source: 'HuggingFaceTB/SmolLM2-135M-Instruct', pre: 'smollm' },
  { ...pieces, name: 'Llama 2', source: vocabulary('llama2'), padded: 5 },
  { ...pieces, name: 'Llama 2 without scores', source: vocabulary('llama2'), no_scores: true },
  { ...pieces, name: 'Gemma 3', source: vocabulary('gemma3'), architecture: 'gemma3', add_space_prefix: false },
];

const texts = mixedTexts(1000);
const random = Random.seeded(5);
/** Ids as an untrained model writes them: cut characters, bytes, special tokens. */
const anyIds = Array.from({ length: 200 }, () =>
  Array.from({ length: 1 + random.below(12) }, () => (random.below(3) ? random.below(32000) : random.below(300))),
);
let files: string[];
let theirs: { ids: number[][]; decoded: string[] }[];

beforeAll(async () => {
  const folder = scratch('gguf-tokenizers');
  const cases = await Promise.all(
    CASES.map(async (one, i) => {
      mkdirSync(join(folder, `${i}`));
      const json = join(one.source, 'tokenizer.json');
      const isJson = existsSync(json);
      const config = isJson ? JSON.parse(readFileSync(join(one.source, 'tokenizer_config.json'), 'utf8')) : {};
      const source = isJson ? json : one.source.includes('SmolLM') ? (await resolveModel(one.source)).path : one.source;
      return { ...one, source, gguf: join(folder, `${i}`, 'tokenizer.gguf'), config };
    }),
  );
  files = cases.map(({ gguf }) => gguf);
  theirs = peer('gguf_tokenizers', { cases, texts, decode: anyIds }, 'peer_tokenizers.py');
});

describe.each(CASES.map((one, i) => ({ ...one, i })))('$name from GGUF', ({ i, name }) => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = Tokenizer.fromGguf((await readGguf(files[i])).metadata, files[i]);
  });

  it('gives the ids of the original on 1,000 mixed strings, and their text', () => {
    for (const [at, text] of texts.entries())
      expect(tokenizer.encode(text, { add_special_tokens: false }), JSON.stringify(text)).toEqual(theirs[i].ids[at]);
    const decoded = [...theirs[i].ids, ...anyIds].map((ids) => tokenizer.decode(ids));
    for (const [at, text] of decoded.entries()) expect(text).toBe(theirs[i].decoded[at]);
  });

  it('puts the BOS token before a text where the family has one, and never splits an added token', () => {
    const bos: Record<string, string> = {
      'llama-bpe': '<|begin_of_text|>',
      'Llama 2': '<s>',
      'Llama 2 without scores': '<s>',
      'Gemma 3': '<bos>',
    };
    const expected = bos[name] === undefined ? [] : [tokenizer.convert_tokens_to_ids(bos[name])];
    expect(tokenizer.encode('')).toEqual(expected);
    expect(tokenizer.encode('a').slice(0, -1)).toEqual(expected);
    expect(tokenizer.add_bos_token).toBe(expected.length > 0);
    const added =
      { qwen2: '<think>', 'llama-bpe': '<|eot_id|>', smollm: '<|im_end|>', 'gpt-2': '<|endoftext|>', 'Gemma 3': '<table>' }[name] ?? '</s>';
    expect(tokenizer.encode(added, { add_special_tokens: false })).toEqual([tokenizer.convert_tokens_to_ids(added)]);
    // what is added but not special is text
    expect(tokenizer.decode(tokenizer.encode(added), { skip_special_tokens: true })).toBe(
      ['<think>', '<table>'].includes(added) ? added : '',
    );
  });
});

describe('tokenizer.ggml.pre', () => {
  let gpt2: Map<string, GgufValue>;
  beforeAll(async () => {
    gpt2 = (await readGguf(files[2])).metadata;
  });
  const withPre = (pre: GgufValue | undefined, more: Record<string, GgufValue> = {}) => {
    const metadata = new Map(gpt2);
    if (pre === undefined) metadata.delete('tokenizer.ggml.pre');
    else metadata.set('tokenizer.ggml.pre', pre);
    for (const [key, value] of Object.entries(more)) metadata.set(`tokenizer.ggml.${key}`, value);
    return metadata;
  };

  it('each way of splitting is that of Python', () => {
    const ours = new Map<string, Tokenizer>();
    const parts: Record<string, object> = {};
    for (const { names } of PRE_TOKENIZERS) {
      const { json, config } = convertGguf(withPre(names[0]), 'file.gguf');
      const { pre_tokenizer, normalizer, model } = json;
      ours.set(names[0], new Tokenizer(json, config));
      parts[names[0]] = { folder: vocabulary('gpt2'), json: { pre_tokenizer, normalizer }, model: { ignore_merges: model.ignore_merges } };
    }
    const some = texts.slice(0, 200);
    const theirs = peer<Record<string, { ids: number[][] }>>('variants', { parts, texts: some }, 'peer_tokenizers.py');
    for (const [name, tokenizer] of ours)
      for (const [at, text] of some.entries())
        expect(tokenizer.encode(text, { add_special_tokens: false }), `${name}: ${JSON.stringify(text)}`).toEqual(theirs[name].ids[at]);
  });

  it('each name that transformers knows has its split', () => {
    const splits = Object.entries(peer<Record<string, string>>('splits', {}, 'peer_tokenizers.py'));
    expect(splits.length).toBeGreaterThan(20);
    for (const [name, regex] of splits) expect(PRE_TOKENIZERS.find(({ names }) => names.includes(name))?.splits, name).toEqual([regex]);
  });

  it.each(['kimi-k2', 'superbpe', 'falcon', 'deepseek-llm', 'chameleon', 'tiny_aya', 'jina-v2-code', 'whitespace', 'no-such'])(
    '%s is refused by name',
    (name) => {
      const metadata = withPre(name);
      expect(() => Tokenizer.fromGguf(metadata, 'file.gguf')).toThrow(`file.gguf: its tokenizer splits text as '${name}'`);
    },
  );

  it('flags in the file go before the defaults of a family', () => {
    const [bos, eos] = [50256, 50255];
    const ids = { bos_token_id: bos, eos_token_id: eos };
    const around = (pre: string | undefined, more: Record<string, GgufValue>) =>
      Tokenizer.fromGguf(withPre(pre, { ...ids, ...more }), 'file.gguf').encode('a');
    expect(around('gpt-2', {})).toEqual([64]);
    expect(around('llama-bpe', {})).toEqual([bos, 64]);
    expect(around('llama-bpe', { add_bos_token: false })).toEqual([64]);
    expect(around('gpt-2', { add_bos_token: true, add_eos_token: true })).toEqual([bos, 64, eos]);
    expect(around(undefined, { add_eos_token: true })).toEqual([64, eos]);
  });

  it('kinds that are not read, damaged lists and lost lists are refused', () => {
    const refused = (more: Record<string, GgufValue>) => {
      const metadata = withPre('gpt-2', more);
      return () => Tokenizer.fromGguf(metadata, 'file.gguf');
    };
    for (const model of ['t5', 'bert', 'rwkv', 'plamo2']) expect(refused({ model })).toThrow(`kind '${model}' is not supported`);
    expect(refused({ tokens: ['a', 'b', 'a'] })).toThrow(/the token "a" is there twice/);
    for (const key of ['merges', 'tokens'])
      for (const value of [0, 'text', [1, 2], ['a', 2]])
        expect(refused({ [key]: value })).toThrow(`tokenizer.ggml.${key} is not the list it should be`);
    expect(refused({ merges: ['ab'] })).toThrow(/the merge "ab" is not two tokens/);
    expect(refused({ token_type: [1, 3] })).toThrow(/token_type has 2 entries for 50257 tokens/);
    const without = withPre('gpt-2');
    without.delete('tokenizer.ggml.merges');
    expect(() => Tokenizer.fromGguf(without, 'file.gguf')).toThrow(/no tokenizer\.ggml\.merges/);
    expect(refused({ model: 'llama' })).toThrow(/no tokenizer\.ggml\.scores/);
  });
});
