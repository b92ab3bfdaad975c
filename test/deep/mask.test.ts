import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { conversation, trained } from '../data/conversations';
import { FORMATS, tokenizerOf } from '../data/formats';

it.each(Object.entries(FORMATS))('of 2,000 conversations exactly the assistant is trained: %s', (_, format) => {
  const [tokenizer, random] = [tokenizerOf(format), Random.seeded(77)];
  for (let i = 0; i < 2000; i++) {
    const { messages, expected, options } = conversation(format, random);
    expect(trained(tokenizer, messages, options), JSON.stringify(messages)).toEqual(expected);
  }
});
