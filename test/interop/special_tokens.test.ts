import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AutoTokenizer } from '../../src/index';
import type { Tokenizer } from '../../src/tokenizers/tokenizer';
import { peer } from '../peer';
import { scratch } from '../tiny';
import { vocabulary } from '../vocabulary';

const TEXTS = [
  '',
  ' ',
  '\n',
  '  \t',
  'a',
  'Hello  world',
  '</s>',
  '<|eot_id|>',
  '<|im_end|><|im_end|>',
  'a<eos>b',
  '<think>x</think>',
  ' <bos> ',
];

function factsOf(tokenizer: Tokenizer) {
  const encoded = TEXTS.map((text) => tokenizer.encode(text));
  const names = Object.keys(tokenizer.special_tokens_map);
  return {
    special_tokens_map: tokenizer.special_tokens_map,
    ids: Object.fromEntries(names.map((name) => [`${name}_id`, tokenizer.convert_tokens_to_ids(tokenizer.special_tokens_map[name])])),
    all_special_tokens: tokenizer.all_special_tokens,
    all_special_ids: tokenizer.all_special_ids,
    length: tokenizer.length,
    vocab_size: tokenizer.vocab_size,
    padding_side: tokenizer.padding_side,
    truncation_side: tokenizer.truncation_side,
    model_max_length: Math.min(tokenizer.model_max_length, 1e30),
    chat_template: tokenizer.chat_template ?? null,
    encoded,
    plain: TEXTS.map((text) => tokenizer.encode(text, { add_special_tokens: false })),
    decoded: encoded.map((ids) => tokenizer.decode(ids)),
    skipped: encoded.map((ids) => tokenizer.decode(ids, { skip_special_tokens: true })),
    unknown: tokenizer.convert_tokens_to_ids('no such token') ?? null,
  };
}

/** Of no class of its own: transformers' LlamaTokenizer makes another normalizer than its tokenizer.json says. */
function sentencePiece(): string {
  const folder = scratch('special-tokens');
  cpSync(vocabulary('llama2'), folder, { recursive: true });
  const path = join(folder, 'tokenizer_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  const more = { tokenizer_class: 'PreTrainedTokenizerFast', extra_special_tokens: { image_token: '<0x41>' } };
  writeFileSync(path, JSON.stringify({ ...config, ...more }));
  return folder;
}

it('special tokens, sizes, and what is put around a text are those of transformers, as loaded and as changed and saved', async () => {
  const folders: string[] = [];
  const expected: object[] = [];
  for (const folder of [vocabulary('llama3'), vocabulary('qwen3'), sentencePiece()]) {
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    folders.push(folder);
    expected.push(factsOf(tokenizer));
    tokenizer.pad_token = tokenizer.eos_token;
    tokenizer.unk_token_id = 7;
    tokenizer.sep_token = tokenizer.convert_ids_to_tokens(300);
    tokenizer.padding_side = 'left';
    tokenizer.truncation_side = 'left';
    tokenizer.model_max_length = 77;
    tokenizer.chat_template = '{{ messages[0].content }}';
    tokenizer.add_eos_token = true;
    tokenizer.add_bos_token = folder.endsWith('llama3');
    const saved = scratch('special-tokens');
    await tokenizer.save_pretrained(saved);
    const again = factsOf(await AutoTokenizer.from_pretrained(saved));
    expect(again.special_tokens_map).toMatchObject({ pad_token: tokenizer.eos_token, unk_token: tokenizer.unk_token });
    folders.push(saved);
    expected.push(again);
  }
  const theirs = peer<object[]>('facts', { folders, texts: TEXTS }, 'peer_tokenizers.py');
  for (const [i, facts] of expected.entries()) expect.soft(facts, folders[i]).toEqual(theirs[i]);
});
