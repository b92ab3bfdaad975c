import { Random } from '../src/core/random';

const WORDS = ['The', 'quick', 'brown', 'fox', 'naïve', 'Straße', 'tokenizer', 'LoRA', 'HTTPServer', 'camelCase', 'iPhone15', 'ŒUVRE'];
const CONTRACTIONS = ["don't", "we'll", "I'VE", "HE'S", "'Re", "'lL", 'it’s', "'ſ", "X'D", "o'm", "''t", "d'être", "l'été"];
const SPACES = [
  ' ',
  '  ',
  '   ',
  '\t',
  '\n',
  '\n\n',
  '   \n ',
  '\r\n',
  '\r',
  '\u00a0',
  '\u2003',
  '\u3000',
  '\u0085',
  '\u2028',
  ' '.repeat(17),
];
const MARKS = ['e\u0301', 'A\u030a', '\u0301', 'ก\u0e47', 'क\u094d\u0937', 'ｶﾞ', '가', '각', 'ﬁ', 'Å', '\u1e9b\u0323'];
const EMOJI = ['🙂', '👩‍👩‍👧', '🇫🇷', '✅', '🤖🤖', '👍🏽', '☃️', '𝒳', '𐍈'];
const SCRIPTS = [
  '日本語',
  '你好，世界',
  '한국어',
  'Привет',
  'مرحبا',
  'ไทย',
  'हिन्दी',
  'ಕನ್ನಡ',
  'ქართული',
  'ⴰⵣⵓⵍ',
  'ꙮ',
  '𠮷野家',
  'かなカナ',
  'Ǆǅǆ',
  'ʰᵃ',
];
const CODE = [
  'def f(x):\n\treturn x**2',
  'for (let i=0;i<10;i++){}',
  'x != y && z',
  '<div class="a">',
  'a_b-c.d/e\\f',
  '{"k": [1, 2.5e-3]}',
  '#include <a.h>\r\n\r\n',
  '// ----\n\n\n',
  'SELECT * FROM t;/',
];
const NUMBERS = ['', '.5', '%', 'th', ',000', '²', '½', 'Ⅻ', '٣٤', '一二三'];
const SPECIALS = [
  '<|im_start|>',
  '<|im_end|>',
  '<|endoftext|>',
  '<|begin_of_text|>',
  '<|eot_id|>',
  '<think>',
  '</think>',
  '<s>',
  '</s>',
  '<bos>',
  '<unk>',
];
const NEARLY = [
  '<start_of_turn>',
  '<pad>',
  '<0x0A>',
  '<unused5>',
  '<|im_start|',
  'im_end|>',
  '<thin',
  '[INST]',
  '▁',
  '▁▁',
  '<table>',
  '</h1>',
];
const SIGNS = ['!!!', '...', '——', '“quoted”', '$100', '#hashtag', '@user', "''", '~~', '¿?', '№', '、。', '）', '•', '/*'];

/** Texts of all the kinds that trip tokenizers; the same ones for the same seed. */
export function mixedTexts(count: number, seed = 11): string[] {
  const random = Random.seeded(seed);
  const pick = <T>(items: T[]): T => items[random.below(items.length)];
  const lists = [WORDS, WORDS, CONTRACTIONS, SPACES, SPACES, MARKS, EMOJI, SCRIPTS, SCRIPTS, CODE, SPECIALS, NEARLY, SIGNS];
  const pieces = [
    ...lists.map((list) => () => pick(list)),
    () => String(random.below(10 ** (1 + random.below(9)))) + pick(NUMBERS),
    // any character of the basic plane, control characters too, but for halves of pairs
    () => String.fromCodePoint(random.below(0x2fff) + 1),
    () => String.fromCodePoint(pick([random.below(0x20), 0x7f + random.below(0x22), 0xfeff, 0x200b + random.below(5), 0xfffd, 0xe000])),
    () => pick(['a', 'A', '1', '.', ' ']).repeat(1 + random.below(40)),
  ];
  return Array.from({ length: count }, () => Array.from({ length: random.below(12) + 1 }, () => pick(pieces)()).join(pick(['', '', ' '])));
}
