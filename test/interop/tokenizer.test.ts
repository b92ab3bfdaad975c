import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { resolveModel } from '../../src/hub/resolve';
import { AutoTokenizer } from '../../src/index';
import { peer } from '../peer';
import { scratch } from '../tiny';

const BASE = 'HuggingFaceTB/SmolLM2-135M-Instruct';

/** Strings of all the kinds that trip tokenizers. */
function mixedStrings(count: number): string[] {
  const random = Random.seeded(11);
  const pick = <T>(items: T[]): T => items[random.below(items.length)];
  const pieces = [
    () => pick(['The', 'quick', 'brown', 'fox', "don't", "we'll", 'naïve', 'Straße', 'tokenizer', 'LoRA']),
    () => pick([' ', '  ', '\t', '\n', '\n\n', '   \n ', '\r\n', '\u00a0', '\u2003']),
    () => pick(['🙂', '👩‍👩‍👧', '🇫🇷', '✅', '🤖🤖', 'e\u0301']),
    () => pick(['日本語', '你好，世界', '한국어', 'Привет', 'مرحبا', 'ไทย', 'हिन्दी']),
    () =>
      pick([
        'def f(x):\n\treturn x**2',
        'for (let i=0;i<10;i++){}',
        'x != y && z',
        '<div class="a">',
        'a_b-c.d/e\\f',
        '{"k": [1, 2.5e-3]}',
      ]),
    () => String(random.below(100000)) + pick(['', '.5', '%', 'th', ',000']),
    () => pick(['<|im_start|>', '<|im_end|>', '<|endoftext|>', '<repo_name>', '<|im_start|', 'im_end|>']),
    () => String.fromCodePoint(random.below(0x2fff) + 1),
    () => pick(['!!!', '...', '——', '“quoted”', '$100', '#hashtag', '@user', "''", '~~']),
  ];
  return Array.from({ length: count }, () => Array.from({ length: random.below(12) + 1 }, () => pick(pieces)()).join(pick(['', ' '])));
}

it('ids equal those of transformers on 1,000 mixed strings and on chats; a saved tokenizer opens there', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained(BASE);
  const texts = mixedStrings(1000);
  const chats = [
    [{ role: 'user', content: 'Hello' }],
    [
      { role: 'system', content: 'Be terse.' },
      { role: 'user', content: 'What is 2+2?' },
      { role: 'assistant', content: '4' },
    ],
    [
      { role: 'user', content: ' spaces \n\n' },
      { role: 'assistant', content: '🙂' },
      { role: 'user', content: '' },
    ],
  ];
  const ours = texts.map((text) => tokenizer.encode(text));
  const saved = scratch('tokenizer');
  await tokenizer.save_pretrained(saved);
  const theirs = peer<{ ids: number[][]; decoded: string[]; chats: number[][]; saved: number[][]; saved_chat: number[] }>('tokens', {
    model: (await resolveModel(BASE)).path,
    texts,
    chats,
    decode: ours.slice(0, 200),
    saved,
  });
  for (const [i, text] of texts.entries()) expect(ours[i], JSON.stringify(text)).toEqual(theirs.ids[i]);
  expect(ours.slice(0, 200).map((ids) => tokenizer.decode(ids))).toEqual(theirs.decoded);
  expect(
    chats.flatMap((messages) =>
      [false, true].map((add_generation_prompt) => tokenizer.apply_chat_template(messages, { add_generation_prompt })),
    ),
  ).toEqual(theirs.chats);
  expect(theirs.saved).toEqual(ours.slice(0, 50));
  expect(theirs.saved_chat).toEqual(theirs.chats[0]);
  const again = await AutoTokenizer.from_pretrained(saved);
  expect(texts.slice(0, 100).map((text) => again.encode(text))).toEqual(ours.slice(0, 100));
});
