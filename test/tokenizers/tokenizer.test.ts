import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../src/tokenizers/tokenizer';
import { scratch, tinyTokenizer } from '../tiny';

it('only texts are encoded, and only ids decoded', () => {
  const tokenizer = tinyTokenizer();
  expect(tokenizer.encode('')).toEqual([]);
  for (const wrong of [5, null, undefined, ['two', 'texts']])
    expect(() => tokenizer.encode(wrong as never)).toThrow(/encode takes a text, but got/);
  expect(tokenizer.decode([])).toBe('');
  expect(tokenizer.decode(65)).toBe(tokenizer.decode(Int32Array.of(65)));
  for (const wrong of [[1.5], [1, '2'], [undefined], Number.NaN])
    expect(() => tokenizer.decode(wrong as never)).toThrow(/decode takes token ids/);
});

it('ids beyond the vocabulary have no text', () => {
  const tokenizer = tinyTokenizer();
  expect(tokenizer.decode([...tokenizer.encode('a'), 5000, -1, ...tokenizer.encode('b')])).toBe('ab');
  expect(tokenizer.convert_ids_to_tokens([258, 5000])).toEqual(['<|im_end|>', undefined]);
});

it('half a character is one replacement sign', () => {
  const tokenizer = tinyTokenizer();
  expect(tokenizer.decode(tokenizer.encode('a\ud83d b\ude42'))).toBe('a\ufffd b\ufffd');
});

describe('special tokens', () => {
  it('are set by token or id and unset, and say what is wrong', () => {
    const tokenizer = tinyTokenizer();
    tokenizer.pad_token = '<|pad|>';
    expect([tokenizer.pad_token, tokenizer.pad_token_id]).toEqual(['<|pad|>', 257]);
    tokenizer.pad_token = tokenizer.eos_token;
    expect(tokenizer.pad_token_id).toBe(tokenizer.eos_token_id);
    for (const name of ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const) {
      tokenizer[`${name}_id`] = 256;
      expect([tokenizer[name], tokenizer[`${name}_id`], tokenizer.special_tokens_map[name]]).toEqual(['<|im_start|>', 256, '<|im_start|>']);
      tokenizer[name] = undefined;
      expect([tokenizer[name], tokenizer[`${name}_id`]]).toEqual([undefined, undefined]);
      expect(tokenizer.special_tokens_map).not.toHaveProperty(name);
      expect(() => {
        tokenizer[name] = '[PAD]';
      }).toThrow(`${name} = '[PAD]': the vocabulary has no such token`);
      expect(() => {
        tokenizer[name] = 5 as never;
      }).toThrow(`${name} must be a text, but got 5`);
      for (const id of [264, -1, 1.5, '7' as never])
        expect(() => {
          tokenizer[`${name}_id`] = id;
        }).toThrow(`${name}_id = `);
    }
  });

  it('of the configuration are never split and are left out, special in tokenizer.json or not', () => {
    const base = JSON.parse(JSON.stringify((tinyTokenizer() as unknown as { json: object }).json));
    base.model.vocab.ab = 300;
    base.model.merges = [['a', 'b']];
    expect(new Tokenizer(base, {}).encode('xab')).toEqual([120, 300]);
    const named = new Tokenizer(base, { eos_token: { content: 'ab' }, extra_special_tokens: ['<new>'] });
    expect(named.encode('x<new>ab')).toEqual([120, 301, 300]);
    expect(named.decode([120, 301, 300], { skip_special_tokens: true })).toBe('x');
    expect(named.all_special_ids).toEqual([300, 301]);
    const listed = new Tokenizer(base, {
      added_tokens_decoder: {
        302: { content: '<a>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: false },
      },
    });
    expect(listed.encode('<a>')).toEqual([302]);
    expect(listed.decode([302], { skip_special_tokens: true })).toBe('<a>');
  });

  it('are put around a text where the tokenizer says so, now and when saved', async () => {
    const tokenizer = tinyTokenizer();
    expect(() => {
      tokenizer.add_bos_token = true;
    }).toThrow('add_bos_token = true needs a bos_token, and none is set');
    tokenizer.bos_token = '<|im_start|>';
    tokenizer.add_bos_token = true;
    tokenizer.add_eos_token = true;
    expect(tokenizer.encode('a')).toEqual([256, 97, 258]);
    expect(tokenizer.encode('')).toEqual([256, 258]);
    expect(tokenizer.encode('', { add_special_tokens: false })).toEqual([]);
    tokenizer.eos_token = '<|pad|>';
    expect(tokenizer.encode('')).toEqual([256, 257]);
    const folder = scratch('tokenizer');
    await tokenizer.save_pretrained(folder);
    const again = await Tokenizer.fromFolder(folder);
    expect([again.encode(''), again.add_bos_token, again.add_eos_token]).toEqual([[256, 257], true, true]);
    again.add_bos_token = false;
    again.add_eos_token = false;
    expect(again.encode('')).toEqual([]);
    expect(() => {
      again.add_eos_token = 1 as never;
    }).toThrow(/add_eos_token must be true or false, but got 1/);
  });
});

it('sides, the longest length and the template are kept, checked and saved', async () => {
  const tokenizer = tinyTokenizer();
  expect([tokenizer.padding_side, tokenizer.truncation_side, tokenizer.model_max_length]).toEqual(['right', 'right', 1e30]);
  tokenizer.padding_side = 'left';
  tokenizer.model_max_length = 99;
  tokenizer.chat_template = '{{ messages[0].content }}!';
  expect(tokenizer.apply_chat_template([{ role: 'user', content: 'a' }], { tokenize: false })).toBe('a!');
  const folder = scratch('tokenizer');
  await tokenizer.save_pretrained(folder);
  expect(JSON.parse(readFileSync(join(folder, 'tokenizer_config.json'), 'utf8'))).toMatchObject({
    padding_side: 'left',
    model_max_length: 99,
  });
  const again = await Tokenizer.fromFolder(folder);
  expect([again.padding_side, again.truncation_side, again.model_max_length, again.chat_template]).toEqual([
    'left',
    'right',
    99,
    '{{ messages[0].content }}!',
  ]);
  again.chat_template = undefined;
  expect(() => again.apply_chat_template([{ role: 'user', content: 'a' }])).toThrow(/has no chat template/);
  expect(() => {
    again.truncation_side = 'middle' as never;
  }).toThrow("truncation_side must be 'left' or 'right', but got 'middle'");
  expect(() => {
    again.model_max_length = 0;
  }).toThrow(/model_max_length/);
  expect(() => {
    again.chat_template = 5 as never;
  }).toThrow(/chat_template must be the text of a Jinja template/);
});

it('files with byte order marks and other line ends are read', async () => {
  const folder = scratch('tokenizer');
  await tinyTokenizer().save_pretrained(folder);
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
    const path = join(folder, name);
    writeFileSync(path, `\ufeff${readFileSync(path, 'utf8')}`);
  }
  const template = '{% for m in messages %}\r\n{{ m.content }}\r{% endfor %}';
  writeFileSync(join(folder, 'chat_template.jinja'), `\ufeff${template}`);
  const tokenizer = await Tokenizer.fromFolder(folder);
  expect(tokenizer.chat_template).toBe('{% for m in messages %}\n{{ m.content }}\n{% endfor %}');
  expect(tokenizer.encode('hi')).toEqual(tinyTokenizer().encode('hi'));
});
