import { FileError } from '../core/errors';
import type { GgufValue } from '../formats/gguf';
import { f32, flag, type GgufEntry, i32, text, u32 } from '../formats/gguf_write';
import { PIECE_TYPES } from '../formats/sentencepiece';
import type { ChatTemplates } from './chat_template';
import type { AddedToken, TokenizerJson } from './engine';
import { PRE_TOKENIZERS, preTokenizerJson } from './gguf_pre';

type Encode = (text: string) => number[];

/** What of a tokenizer goes into a GGUF file. */
export interface GgufTokenizer {
  json: TokenizerJson;
  special(name: 'bos' | 'eos' | 'unk' | 'pad'): number | undefined;
  /** What it puts around every text. */
  adds: { bos: boolean; eos: boolean };
  /** Ids of a text alone. */
  encode: Encode;
  templates: ChatTemplates | undefined;
}

/** The tokenizer that a file with these entries has. */
type Reads = (entries: ReadonlyMap<string, GgufEntry>) => Encode;

/** Texts that tell ways of splitting apart. */
const PROBES = [
  "Hello world! It's 12345 o'clock, WE'LL see: they're 3.14159 and 100,000.00",
  '  spaced   out\n\n\ttabs\r\n x  \n end ',
  'Zażółć gęślą jaźń, 漢字かな交じり文 한국어 😀👩‍💻 नमस्ते',
  'camelCaseWords HTTPServer x=y+z; // ### ---- <tag attr="1"/> $$$',
  'ﬁ é e\u0301 ½ ² ٠١٢ १२३',
];

const NO_WAY = 'Export to safetensors (save_pretrained) instead, or keep the GGUF file that the model came from beside the adapter.';

function typeOf(token: string, id: number, added: ReadonlyMap<number, AddedToken>, unk: number | undefined, bytes: boolean): number {
  const known = added.get(id);
  if (id === unk) return PIECE_TYPES.UNKNOWN;
  if (known) return known.special ? PIECE_TYPES.CONTROL : PIECE_TYPES.USER_DEFINED;
  return bytes && /^<0x[0-9A-F]{2}>$/.test(token) ? PIECE_TYPES.BYTE : PIECE_TYPES.NORMAL;
}

/** The tokens and what they are, by id; ids that no token has, up to the size of the embedding table, are padding. */
function tokensOf({ json, special }: GgufTokenizer, size: number, pieces: boolean): { tokens: string[]; types: number[] } {
  const added = new Map((json.added_tokens ?? []).map((token) => [token.id, token]));
  const byId = new Map(Object.entries(json.model.vocab as Record<string, number>).map(([token, id]) => [id, token]));
  for (const [id, { content }] of added) byId.set(id, content);
  const outside = [...byId.keys()].find((id) => id >= size);
  if (outside !== undefined)
    throw new FileError(
      `The tokenizer has the token ${outside} (${byId.get(outside)}), but the model has ${size} only. Is it the model's tokenizer? If tokens were added to it: model.resize_token_embeddings(tokenizer.length).`,
    );
  const [tokens, types]: [string[], number[]] = [[], []];
  for (let id = 0; id < size; id++) {
    const token = byId.get(id);
    types.push(token === undefined ? PIECE_TYPES.UNUSED : typeOf(token, id, added, special('unk'), pieces));
    // A file spells the spaces of user-defined tokens plainly.
    tokens.push(
      token === undefined ? `[PAD${id}]` : pieces && types[id] === PIECE_TYPES.USER_DEFINED ? token.replaceAll('\u2581', ' ') : token,
    );
  }
  return { tokens, types };
}

const pairOf = (merge: string | [string, string]): [string, string] => {
  if (typeof merge !== 'string') return merge;
  const space = merge.indexOf(' ', 1);
  return [merge.slice(0, space), merge.slice(space + 1)];
};

/** SentencePiece ranks pieces by scores: those of the merges' order, then what no merge makes. */
function scoresOf(merges: [string, string][], tokens: string[]): number[] {
  const rank = new Map<string, number>();
  for (const [i, pair] of merges.entries()) if (!rank.has(pair.join(''))) rank.set(pair.join(''), i);
  return tokens.map((token) => -(rank.get(token) ?? merges.length));
}

/** How a byte-level vocabulary splits text: each name of llama.cpp's that might be meant, the one of the same splits first. */
function byteLevelWays({ json }: GgufTokenizer, merges: [string, string][]): ReadonlyMap<string, GgufEntry>[] {
  const own = JSON.stringify(json.pre_tokenizer);
  const same = (at: number) => Number(JSON.stringify(preTokenizerJson(PRE_TOKENIZERS[at])) === own);
  const order = [...PRE_TOKENIZERS.keys()].sort((a, b) => same(b) - same(a));
  return order.map(
    (at) =>
      new Map([
        ['tokenizer.ggml.model', text('gpt2')],
        ['tokenizer.ggml.pre', text(PRE_TOKENIZERS[at].names[0])],
        ['tokenizer.ggml.merges', text(merges.map((pair) => pair.join(' ')))],
      ]),
  );
}

function pieceWays(merges: [string, string][], tokens: string[]): ReadonlyMap<string, GgufEntry>[] {
  return [true, false].map(
    (prefix) =>
      new Map([
        ['tokenizer.ggml.model', text('llama')],
        ['tokenizer.ggml.pre', text('default')],
        ['tokenizer.ggml.scores', f32(scoresOf(merges, tokens))],
        ['tokenizer.ggml.add_space_prefix', flag(prefix)],
      ]),
  );
}

function templateEntries(templates: ChatTemplates | undefined): [string, GgufEntry][] {
  if (templates === undefined) return [];
  if (typeof templates === 'string') return [['tokenizer.chat_template', text(templates)]];
  const others = Object.keys(templates).filter((name) => name !== 'default');
  return [
    ...(templates.default === undefined ? [] : [['tokenizer.chat_template', text(templates.default)] as [string, GgufEntry]]),
    ['tokenizer.chat_templates', text(others)],
    ...others.map((name): [string, GgufEntry] => [`tokenizer.chat_template.${name}`, text(templates[name])]),
  ];
}

/**
 * A tokenizer's part of a GGUF file's metadata, for a model of `size` tokens: `reads` shows that it splits texts there as it does here. A
 * FileError where llama.cpp has no such tokenizer.
 */
export function tokenizerEntries(tokenizer: GgufTokenizer, size: number, reads: Reads): Map<string, GgufEntry> {
  const { type, vocab, byte_fallback } = tokenizer.json.model;
  if ((type !== undefined && type !== 'BPE') || Array.isArray(vocab))
    throw new FileError(`Tokenizers of kind ${String(type)} are not written to GGUF yet (BPE is). ${NO_WAY}`);
  const pieces = Boolean(byte_fallback);
  const merges = ((tokenizer.json.model.merges ?? []) as (string | [string, string])[]).map(pairOf);
  const { tokens, types } = tokensOf(tokenizer, size, pieces);
  const ids = [
    ['bos', tokenizer.special('bos')],
    ['eos', tokenizer.special('eos')],
    ['unknown', tokenizer.special('unk')],
    ['padding', tokenizer.special('pad')],
  ] as const;
  const rest: [string, GgufEntry][] = [
    ['tokenizer.ggml.tokens', text(tokens)],
    ['tokenizer.ggml.token_type', i32(types)],
    ...ids.flatMap(([name, id]): [string, GgufEntry][] => (id === undefined ? [] : [[`tokenizer.ggml.${name}_token_id`, u32(id)]])),
    ['tokenizer.ggml.add_bos_token', flag(tokenizer.adds.bos)],
    ['tokenizer.ggml.add_eos_token', flag(tokenizer.adds.eos)],
    ...templateEntries(tokenizer.templates),
  ];
  const wanted = PROBES.map((probe) => tokenizer.encode(probe).join());
  for (const way of pieces ? pieceWays(merges, tokens) : byteLevelWays(tokenizer, merges)) {
    const entries = new Map([...way, ...rest]);
    const encode = reads(entries);
    if (PROBES.every((probe, i) => encode(probe).join() === wanted[i])) return entries;
  }
  throw new FileError(`The tokenizer splits texts in a way that llama.cpp does not have. ${NO_WAY}`);
}

/** Entries as they are read. */
export const valuesOf = (entries: ReadonlyMap<string, GgufEntry>): Map<string, GgufValue> =>
  new Map([...entries].map(([key, { value }]) => [key, value as GgufValue]));
