import { expect, it } from 'vitest';
import { AutoTokenizer } from '../../src/index';
import { peer } from '../peer';
import { mixedTexts } from '../texts';
import { scratch } from '../tiny';

const BASE = 'HuggingFaceTB/SmolLM2-135M-Instruct';

it('a saved tokenizer opens in transformers: ids on 1,000 mixed strings, texts and chats are the same', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained(BASE);
  const texts = mixedTexts(1000);
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
  const theirs = peer<{ ids: number[][]; decoded: string[]; chats: number[][] }>('tokens', {
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
  const again = await AutoTokenizer.from_pretrained(saved);
  expect(texts.slice(0, 100).map((text) => again.encode(text))).toEqual(ours.slice(0, 100));
});
