import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import type { GgufValue } from '../formats/gguf';
import { PIECE_TYPES } from '../formats/sentencepiece';
import type { TokenizerJson } from './engine';
import { findPreTokenizer, preTokenizerJson, preTokenizerNames } from './gguf_pre';
import { addedTokens, mergesOf, piecesDecoder, SPACE, spacesToSigns } from './pieces';
import type { TokenizerConfig } from './special_tokens';

const { NORMAL, USER_DEFINED, BYTE } = PIECE_TYPES;
/** Families whose pieces rank as they stand in the vocabulary, whatever their scores. */
const GEMMA = ['gemma', 'gemma2', 'gemma3', 'gemma3n'];
const REMEDY = 'Put the tokenizer.json of the model beside the file.';

/** What a GGUF file says of its tokenizer. */
class Metadata {
  readonly tokens: string[];
  readonly types: number[];
  readonly ids: Map<string, number>;

  constructor(
    private readonly entries: Map<string, GgufValue>,
    readonly path: string,
  ) {
    this.tokens = this.strings('tokens') ?? this.missing('tokens');
    this.types = this.numbers('token_type') ?? [];
    this.ids = new Map(this.tokens.map((token, id) => [token, id]));
    if (this.ids.size !== this.tokens.length) {
      const twice = this.tokens.find((token, id) => this.ids.get(token) !== id);
      this.damaged(`the token ${JSON.stringify(twice)} is there twice`);
    }
  }
  value(key: string): GgufValue | undefined {
    return this.entries.get(`tokenizer.ggml.${key}`);
  }
  strings(key: string): string[] | undefined {
    return this.list(key, (one): one is string => typeof one === 'string');
  }
  /** As many as there are tokens. */
  numbers(key: string): number[] | undefined {
    const list = this.list(key, (one): one is number => typeof one === 'number');
    if (list && list.length < this.tokens.length)
      this.damaged(`tokenizer.ggml.${key} has ${list.length} entries for ${this.tokens.length} tokens`);
    return list;
  }
  private list<T extends GgufValue>(key: string, fits: (one: GgufValue) => one is T): T[] | undefined {
    const list = this.value(key);
    if (list === undefined) return undefined;
    if (!Array.isArray(list) || !list.every(fits)) this.damaged(`tokenizer.ggml.${key} is not the list it should be`);
    return list;
  }
  damaged(what: string): never {
    throw new FileError(`${this.path}: damaged GGUF header (${what}).`);
  }
  flag(key: string, otherwise: boolean): boolean {
    const flag = this.value(key);
    return flag === undefined ? otherwise : flag === true;
  }
  /** The special token of that name, as text. */
  special(name: string, otherwise?: number): string | undefined {
    const id = this.value(`${name}_token_id`) ?? otherwise;
    return id === undefined ? undefined : this.tokens[Number(id)];
  }
  get isGemma(): boolean {
    return GEMMA.includes(String(this.entries.get('general.architecture')));
  }
  get chatTemplate(): string | undefined {
    return this.entries.get('tokenizer.chat_template') as string | undefined;
  }
  missing(key: string): never {
    throw new FileError(`${this.path}: the GGUF file has no tokenizer.ggml.${key}. ${REMEDY}`);
  }
}

function byteLevel(file: Metadata): { json: TokenizerJson; addBos: boolean } {
  const name = file.value('pre');
  if (name === undefined || name === 'default')
    warnOnce(
      `${file.path} does not say how its tokenizer splits text (tokenizer.ggml.pre), so GPT-2's way is taken: if that is not the model's, ` +
        `tokens differ and answers get worse. ${REMEDY}`,
    );
  const pre = findPreTokenizer(name === undefined || name === 'default' ? 'gpt-2' : String(name));
  if (!pre)
    throw new FileError(
      `${file.path}: its tokenizer splits text as '${String(name)}' (tokenizer.ggml.pre), which is not known here. Known are ` +
        `${preTokenizerNames().join(', ')}. ${REMEDY}`,
    );
  const merges = file.strings('merges') ?? file.missing('merges');
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(file.tokens, file.types),
    normalizer: pre.normalizer ? { type: pre.normalizer } : null,
    pre_tokenizer: preTokenizerJson(pre),
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignore_merges ?? false,
      vocab: Object.fromEntries(file.ids),
      merges: merges.map((merge) => {
        const space = merge.indexOf(' ', 1);
        if (space < 0) file.damaged(`the merge ${JSON.stringify(merge)} is not two tokens`);
        return [merge.slice(0, space), merge.slice(space + 1)];
      }),
    },
  };
  return { json, addBos: pre.add_bos ?? false };
}

/** The rank of each piece among merges: by its score; where the file lost the scores by its place, with runs of spaces last. */
function ranksOf(file: Metadata, tokens: string[]): (id: number) => number {
  const scores = file.numbers('scores') ?? file.missing('scores');
  const lost = new Set(scores.filter((_, id) => file.types[id] === NORMAL)).size < 2;
  // SentencePiece takes user-defined pieces before all merges; the file has another score for them.
  const own = (id: number) => (file.types[id] === USER_DEFINED ? Number.NEGATIVE_INFINITY : undefined);
  if (file.isGemma) return (id) => own(id) ?? id;
  return (id) => own(id) ?? (!lost ? -scores[id] : /^\u2581+$/.test(tokens[id]) ? Number.POSITIVE_INFINITY : id);
}

function sentencePiece(file: Metadata): TokenizerJson {
  // A file spells the spaces of user-defined tokens plainly, where the vocabulary has its own sign.
  const tokens = file.tokens.map((token, id) => (file.types[id] === USER_DEFINED ? token.replaceAll(' ', SPACE) : token));
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const prefix = file.flag('add_space_prefix', true);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokens, file.types),
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, spacesToSigns] } : spacesToSigns,
    pre_tokenizer: null,
    post_processor: null,
    decoder: piecesDecoder(prefix),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: file.special('unknown', 0),
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: file.types.includes(BYTE),
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges: mergesOf(ids, ranksOf(file, tokens), file.isGemma),
    },
  };
}

/** The tokenizer inside a GGUF file, as tokenizer.json and tokenizer_config.json would hold it: byte-level or SentencePiece BPE. */
export function convertGguf(metadata: Map<string, GgufValue>, path: string): { json: TokenizerJson; config: TokenizerConfig } {
  const model = metadata.get('tokenizer.ggml.model');
  if (model !== 'gpt2' && model !== 'llama')
    throw new FileError(`${path}: a GGUF tokenizer of kind '${String(model)}' is not supported (gpt2 and llama are). ${REMEDY}`);
  const file = new Metadata(metadata, path);
  const isBytes = model === 'gpt2';
  const { json, addBos } = isBytes ? byteLevel(file) : { json: sentencePiece(file), addBos: true };
  // llama.cpp's defaults for a SentencePiece file that does not name them
  const special = (name: string, otherwise: number) => file.special(name, isBytes ? undefined : otherwise);
  return {
    json,
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      chat_template: file.chatTemplate,
      bos_token: special('bos', 1),
      eos_token: special('eos', 2),
      unk_token: special('unknown', 0),
      pad_token: file.special('padding'),
      add_bos_token: file.flag('add_bos_token', addBos),
      add_eos_token: file.flag('add_eos_token', false),
    },
  };
}
