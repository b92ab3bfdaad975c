import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { AutoTokenizer } from '../../src/index';
import { Tokenizer } from '../../src/tokenizers/tokenizer';
import { peer } from '../peer';
import { mixedTexts } from '../texts';
import { scratch } from '../tiny';

const usual = { vocab_size: 700, hard_vocab_limit: false, character_coverage: 0.98 };
const llama = { model_type: 'bpe', normalization_rule_name: 'identity', remove_extra_whitespaces: false, byte_fallback: true };
/** Beside symbols, and where a text of a model with symbols ends, spaces are as in transformers: none is taken away, none put there. */
const BESIDE = /<think>|\[INST\]|[\s\p{C}\ufffd▁]$/u;
/** What is no model for us. */
const REFUSED = [{ model_type: 'word' }, { model_type: 'char' }, { treat_whitespace_as_suffix: true }];
/** Models as families have them: how they were trained, what their file is called, a tokenizer_config.json. */
const CASES: { name: string; file: string; options: Record<string, unknown>; config?: object; except?: RegExp }[] = [
  { name: 'Unigram as it comes (T5)', file: 'spiece.model', options: { model_type: 'unigram', pad_id: 3 } },
  {
    name: 'Unigram without case, symbols',
    file: 'spm.model',
    options: { model_type: 'unigram', normalization_rule_name: 'nmt_nfkc_cf', user_defined_symbols: ['<think>', '[INST]'] },
    except: BESIDE,
  },
  {
    name: 'Unigram with bytes, no space before',
    file: 'tokenizer.model',
    options: { ...llama, model_type: 'unigram', add_dummy_prefix: false, normalization_rule_name: 'nfkc' },
  },
  { name: 'BPE with bytes (Llama)', file: 'tokenizer.model', options: { ...llama, split_digits: true, pad_id: 3 } },
  {
    name: 'BPE of Llama in transformers',
    file: 'tokenizer.model',
    options: llama,
    config: { tokenizer_class: 'LlamaTokenizer', legacy: false, add_bos_token: true },
  },
  {
    name: 'BPE without a space before, symbols (Gemma)',
    file: 'tokenizer.model',
    options: { ...llama, add_dummy_prefix: false, user_defined_symbols: ['<start_of_turn>', '\n\n', '▁▁'] },
    except: /▁/,
  },
  {
    name: 'BPE without bytes, NFKC',
    file: 'tokenizer.model',
    options: { model_type: 'bpe', normalization_rule_name: 'nmt_nfkc', user_defined_symbols: '<think>' },
    except: BESIDE,
  },
];
const texts = [...mixedTexts(1000), '', ' ', '  ', ' a', 'a ', '\u1112\u1161\u11ab', 'e\u0301\u0302x', '①ﬃ Ⅳ'];
/** Special tokens are found in texts, as in transformers, where SentencePiece sees their letters; a zero ends its texts. */
const SPECIAL = /<unk>|<\/?s>|<pad>|\0/;
/** In Unigram models: its sums have 32 bits, which decides between pieces of one letter that are equally probable. Pieces of bytes are found in texts. */
const UNIGRAM = /(.)\1{2}|<0x/su;

interface Theirs {
  ids: number[][];
  decoded: string[];
  pieces: number;
  theirs: number[][] | null;
}
const folders = [...CASES, ...REFUSED].map(() => scratch('sentencepiece'));
let theirs: Theirs[];
beforeAll(() => {
  const refused = REFUSED.map((options) => ({ file: 'tokenizer.model', options, config: undefined }));
  const cases = [...CASES, ...refused].map((one, i) => ({ ...one, folder: folders[i], options: { ...usual, ...one.options } }));
  theirs = peer<Theirs[]>('sentencepieces', { cases, train: mixedTexts(1200, 5), texts }, 'peer_tokenizers.py');
});

const shown = (tokenizer: Tokenizer, text: string, ids: number[], want: number[]) =>
  `${JSON.stringify(text)}: ${[ids, want].map((one) => tokenizer.convert_ids_to_tokens(one).join('|')).join(' and ')}`;

it.each(CASES.map((one, i) => ({ ...one, i })))(
  '$name: ids of 1,000 mixed strings, and their text',
  async ({ i, config, options, except }) => {
    const tokenizer = await AutoTokenizer.from_pretrained(folders[i]);
    expect(tokenizer.vocab_size).toBe(theirs[i].pieces);
    const wanted = theirs[i].theirs ?? theirs[i].ids;
    let seen = 0;
    for (const [at, text] of texts.entries()) {
      if (SPECIAL.test(text) || except?.test(text) || (options.model_type === 'unigram' && UNIGRAM.test(text))) continue;
      seen++;
      const ids = tokenizer.encode(text, { add_special_tokens: config !== undefined });
      expect(ids, shown(tokenizer, text, ids, wanted[at])).toEqual(wanted[at]);
      // It shows what is unknown by two question marks.
      if (theirs[i].ids[at].includes(0)) continue;
      expect(tokenizer.decode(theirs[i].ids[at]), JSON.stringify(text)).toBe(theirs[i].decoded[at]);
    }
    expect(seen).toBeGreaterThan(300);
  },
);

it('what is saved is read by tokenizers, and a table of characters is taken as that takes it', async () => {
  const files: string[] = [];
  for (const from of folders.slice(0, CASES.length)) {
    const folder = scratch('resaved');
    await (await AutoTokenizer.from_pretrained(from)).save_pretrained(folder);
    const file = join(folder, 'tokenizer.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace(',"longest":true', ''));
    files.push(file);
  }
  const ids = peer<number[][][]>('saved_json', { files, texts }, 'peer_tokenizers.py');
  for (const [i, { name, options }] of CASES.entries()) {
    const tokenizer = await Tokenizer.fromFolder(dirname(files[i]));
    for (const [at, text] of texts.entries())
      if (options.model_type !== 'unigram' || !UNIGRAM.test(text)) {
        const own = tokenizer.encode(text, { add_special_tokens: false });
        expect(own, `${name}: ${shown(tokenizer, text, own, ids[i][at])}`).toEqual(ids[i][at]);
      }
  }
});

it('symbols are whole, spaces around them too; a text begins and ends as the kind of model has it', async () => {
  const [t5, symbols, , llama] = await Promise.all(folders.slice(0, 4).map((folder) => AutoTokenizer.from_pretrained(folder)));
  expect(symbols.convert_ids_to_tokens(symbols.encode('The <think> a', { add_special_tokens: false }))).toEqual(
    expect.arrayContaining(['<think>']),
  );
  expect(symbols.decode(symbols.encode('the <think> fox [INST]fox'))).toBe('the <think> fox [INST]fox</s>');
  expect([t5.encode('fox').at(-1), t5.pad_token_id]).toEqual([t5.eos_token_id, 3]);
  expect([llama.encode('fox')[0], llama.encode('fox').at(-1) === llama.eos_token_id]).toEqual([llama.bos_token_id, false]);
});

it('models that are not known here are refused by name', async () => {
  const said = [/kind 'word' is not supported/, /kind 'char' is not supported/, /treat_whitespace_as_suffix/];
  for (const [i, text] of said.entries()) await expect(AutoTokenizer.from_pretrained(folders[CASES.length + i])).rejects.toThrow(text);
});
