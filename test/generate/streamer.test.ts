import { describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { TextStreamer } from '../../src/generate/streamer';
import { Tokenizer } from '../../src/tokenizers/tokenizer';
import { mixedTexts } from '../texts';
import { tinyTokenizer } from '../tiny';

/** A SentencePiece tokenizer of a few words, with bytes for all else. */
function pieces(): Tokenizer {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const words = ['▁', '▁the', 'cat', '▁cat', 's', '.', '\n', '好', '。', 'ก', '🙂', '�'];
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...words];
  const added = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return new Tokenizer(
    {
      version: '1.0',
      added_tokens: tokens.slice(0, 3).map((content, id) => ({ ...added, id, content })),
      normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: {
        type: 'BPE',
        unk_token: '<unk>',
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(tokens.map((t, i) => [t, i])),
        merges: [],
      },
    },
    { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
  );
}

/** What is written behind each token, and at the end. */
function stream(tokenizer: Tokenizer, ids: number[]): string[] {
  let now = '';
  const streamer = new TextStreamer(tokenizer, (text) => {
    now += text;
  });
  const written = ids.map((id) => {
    now = '';
    streamer.put(id);
    return now;
  });
  now = '';
  streamer.end();
  return [...written, now];
}
const tiny = tinyTokenizer();
const streamed = (text: string) => stream(tiny, tiny.encode(text)).filter((part) => part);

describe('text comes out as soon as it is certain', () => {
  it.each([
    ['words', 'so it is', ['so ', 'it ', 'is\n']],
    ['lines', 'one\ntwo\n\nthree', ['one\n', 'two\n', '\n', 'three\n']],
    ['Windows lines and tabs', 'a\tb\r\nc', ['a\t', 'b\r', '\n', 'c\n']],
    ['Chinese', '你好，世界。', [...'你好，世界。', '\n']],
    ['rare Chinese', '𠮷野家', [...'𠮷野家', '\n']],
    ['Japanese', 'かなカナー', ['か', 'な', 'カ', 'ナ', 'ー\n']],
    ['Thai, with its marks', 'กำ ', ['ก', 'ำ', ' ', '\n']],
    ['Korean, in words', '한국어 말', ['한국어 ', '말\n']],
    ['emoji with joiners, whole', '👩‍👩‍👧 👍🏽 x', ['👩‍👩‍👧 ', '👍🏽 ', 'x\n']],
    ['a word before Chinese', 'ab好c', ['ab好', 'c\n']],
    ['nothing', '', ['\n']],
  ])('%s', (_, text, parts) => {
    expect(streamed(text)).toEqual(parts);
  });

  it('with the token that completes it', () => {
    const ids = tiny.encode('好 a');
    expect(stream(tiny, ids)).toEqual(['', '', '好', ' ', '', 'a\n']);
  });

  it('bytes of a SentencePiece vocabulary when the run of them has ended', () => {
    const tokenizer = pieces();
    const written = stream(
      tokenizer,
      tokenizer.convert_tokens_to_ids(['▁the', '▁', '<0xE7>', '<0x95>', '<0x8C>', 's', '▁', '好']) as number[],
    );
    expect(written).toEqual(['', 'the ', '', '', '', '界', 's ', '好', '\n']);
    // a byte that breaks the run makes all of it signs, as in the whole
    const broken = tokenizer.convert_tokens_to_ids(['<0xE7>', '<0x95>', '<0x8C>', '<0xFF>', 's']) as number[];
    expect(stream(tokenizer, broken).join('')).toBe('����s\n');
  });
});

it('what is written joins to the whole, is cut between characters only, and special tokens are left out', () => {
  const random = Random.seeded(3);
  for (const tokenizer of [tiny, pieces()])
    for (const text of mixedTexts(60, 4)) {
      const ids = tokenizer.encode(text, { add_special_tokens: false });
      const size = tokenizer.length;
      // as an untrained model writes them, too
      const any = Array.from({ length: 1 + random.below(30) }, () => random.below(random.below(2) ? size : 40 + random.below(200)));
      for (const tokens of [ids, any, [...ids, ...any]]) {
        const parts = stream(tokenizer, tokens);
        expect(parts.join('')).toBe(`${tokenizer.decode(tokens, { skip_special_tokens: true })}\n`);
        for (const part of parts) expect(Buffer.from(part).toString()).toBe(part);
      }
    }
});

it('two texts one after the other do not mix', () => {
  let all = '';
  const streamer = new TextStreamer(tiny, (text) => {
    all += text;
  });
  for (const text of ['one two', ' three']) {
    for (const id of tiny.encode(text)) streamer.put(id);
    streamer.end();
  }
  expect(all).toBe('one two\n three\n');
});
