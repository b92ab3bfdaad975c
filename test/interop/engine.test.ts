import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Tokenizer } from '../../src/tokenizers/tokenizer';
import { peer } from '../peer';
import { mixedTexts } from '../texts';
import { vocabulary } from '../vocabulary';

const [gpt2, pieces] = [vocabulary('gpt2'), vocabulary('llama2')];
const ByteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
const inBytes = (...pretokenizers: object[]) => ({ pre_tokenizer: { type: 'Sequence', pretokenizers: [...pretokenizers, ByteLevel] } });
const added = (flags: object) => ({
  added_tokens: ['<think>', ' a', 'The'].map((content, i) => ({
    id: i < 2 ? 50257 + i : 464,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: i === 0,
    ...flags,
  })),
});

/** Parts of tokenizer.json, in front of a byte-level vocabulary. */
const PARTS: Record<string, object> = {
  'ByteLevel with a space before': { pre_tokenizer: { ...ByteLevel, add_prefix_space: true, use_regex: true } },
  'single digits': inBytes({ type: 'Digits', individual_digits: true }),
  'runs of digits': inBytes({ type: 'Digits', individual_digits: false }),
  ...Object.fromEntries(['Whitespace', 'WhitespaceSplit', 'BertPreTokenizer'].map((type) => [type, inBytes({ type })])),
  ...Object.fromEntries(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents'].map((type) => [type, { normalizer: { type } }])),
  'stripped ends': { normalizer: { type: 'Strip', strip_left: true, strip_right: true } },
  'added tokens': added({}),
  'added tokens that take spaces behind': added({ rstrip: true }),
};
for (const behavior of ['Isolated', 'Removed', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext']) {
  PARTS[`punctuation, ${behavior}`] = inBytes({ type: 'Punctuation', behavior });
  PARTS[`a text, ${behavior}`] = inBytes({ type: 'Split', pattern: { String: ' ' }, behavior, invert: false });
  for (const invert of [false, true])
    PARTS[`a pattern, ${behavior}, ${invert}`] = inBytes({ type: 'Split', pattern: { Regex: '\\s+|\\p{N}|(?i:st)' }, behavior, invert });
}
const metaspace = (prepend_scheme: string, split: boolean) => {
  const part = { type: 'Metaspace', replacement: '▁', prepend_scheme, split };
  return { normalizer: null, pre_tokenizer: part, decoder: part };
};

it('each part of a tokenizer.json does what it does in Python', () => {
  const plain = {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { ...ByteLevel, use_regex: true },
    post_processor: null,
    decoder: ByteLevel,
    model: {
      type: 'BPE',
      vocab: JSON.parse(readFileSync(join(gpt2, 'encoder.json'), 'utf8')),
      merges: readFileSync(join(gpt2, 'vocab.bpe'), 'utf8').split('\n').slice(1, -1),
    },
  };
  const words = JSON.parse(readFileSync(join(pieces, 'tokenizer.json'), 'utf8'));
  const parts = Object.fromEntries([
    ...Object.entries(PARTS).map(([name, json]) => [name, { folder: gpt2, json: { added_tokens: [], ...json } }]),
    ...['first', 'always', 'never'].flatMap((scheme) =>
      [true, false].map((split) => [`Metaspace, ${scheme}, ${split}`, { folder: pieces, json: metaspace(scheme, split) }]),
    ),
  ]) as Record<string, { folder: string; json: object }>;
  const texts = mixedTexts(120, 21);
  const theirs = peer<Record<string, { ids: number[][]; decoded: string[] }>>('variants', { parts, texts }, 'peer_tokenizers.py');
  for (const [name, { folder, json }] of Object.entries(parts)) {
    const tokenizer = new Tokenizer({ ...(folder === gpt2 ? plain : words), ...json }, {});
    for (const [i, text] of texts.entries()) {
      const what = `${name}: ${JSON.stringify(text)}`;
      const ids = tokenizer.encode(text, { add_special_tokens: false });
      expect(ids, what).toEqual(theirs[name].ids[i]);
      expect(tokenizer.decode(ids), what).toBe(theirs[name].decoded[i]);
    }
  }
});
