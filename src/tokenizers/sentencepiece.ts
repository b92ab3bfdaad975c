import { FileError } from '../core/errors';
import { PIECE_TYPES, parseSentencePiece, type SentencePieceModel } from '../formats/sentencepiece';
import type { Part, TokenizerJson } from './engine';
import { addedTokens, mergesOf, piecesDecoder, SPACE, spacesToSigns } from './pieces';
import type { TokenizerConfig } from './special_tokens';

const REMEDY = 'Put a tokenizer.json beside the model.';

/**
 * A text before its spaces become signs. What is replaced goes by a table of the file's own; ends and runs of spaces go where it says so. Symbols
 * part a text before this, so that with them what looks like an end may be none.
 */
function normalizersOf({ precompiled_charsmap: table, remove_extra_whitespaces: few }: SentencePieceModel, symbols: boolean): Part[] {
  const spaces = (regex: string, content: string): Part => ({ type: 'Replace', pattern: { Regex: regex }, content });
  return [
    // As SentencePiece takes it; tokenizers that open the saved tokenizer.json elsewhere go by clusters of characters.
    ...(table.length ? [{ type: 'Precompiled', precompiled_charsmap: Buffer.from(table).toString('base64'), longest: true }] : []),
    ...(few ? [spaces(' {2,}', ' ')] : []),
    ...(few && !symbols ? [spaces(String.raw`\A `, ''), spaces(`[ ${SPACE}]+\\z`, '')] : []),
  ];
}

function modelOf(model: SentencePieceModel): TokenizerJson['model'] {
  const { pieces, byte_fallback, unk_id } = model;
  if (model.model_type === 'unigram')
    return { type: 'Unigram', unk_id, vocab: pieces.map(({ piece, score }) => [piece, score]), byte_fallback };
  const ids = new Map(pieces.map(({ piece }, id) => [piece, id]));
  // What is no piece of text is never put together, and has no parts. Symbols, whose spaces are signs in a text too, come before all merges.
  const { NORMAL, UNUSED, USER_DEFINED } = PIECE_TYPES;
  const plain = new Map([...ids].filter(([, id]) => [NORMAL, UNUSED, USER_DEFINED].includes(pieces[id].type)));
  const rank = (id: number) => (pieces[id].type === USER_DEFINED ? Number.NEGATIVE_INFINITY : -pieces[id].score);
  return {
    type: 'BPE',
    ...{ dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, ignore_merges: false },
    unk_token: pieces[unk_id].piece,
    byte_fallback,
    vocab: Object.fromEntries(ids),
    merges: mergesOf(plain, rank, false),
  };
}

function checkKnown(model: SentencePieceModel, path: string): void {
  const { model_type: type, pieces } = model;
  const refuse = (what: string): never => {
    throw new FileError(`${path}: a SentencePiece model ${what}. ${REMEDY}`);
  };
  if (type !== 'unigram' && type !== 'bpe') refuse(`of kind '${type}' is not supported (unigram and bpe are)`);
  if (model.treat_whitespace_as_suffix) refuse('with its spaces behind words (treat_whitespace_as_suffix) is not supported');
  if (!model.escape_whitespaces) refuse('with plain spaces in its pieces (escape_whitespaces is false) is not supported');
  if (model.unk_id < 0) refuse('without a token for what is unknown is damaged');
  const seen = new Map(pieces.map(({ piece }, id) => [piece, id]));
  const twice = pieces.find(({ piece }, id) => seen.get(piece) !== id);
  if (twice) refuse(`with the piece ${JSON.stringify(twice.piece)} twice is damaged`);
}

/**
 * A SentencePiece model as tokenizer.json and tokenizer_config.json would hold it; `given`: the tokenizer_config.json beside it. Where that says
 * nothing, a BPE model (Llama, Mistral, Gemma) begins texts with its bos, and a Unigram model (T5) ends them with its eos, as in llama.cpp.
 */
export function convertSentencePiece(
  bytes: Uint8Array,
  path: string,
  given: TokenizerConfig,
): { json: TokenizerJson; config: TokenizerConfig } {
  const model = parseSentencePiece(bytes, path);
  checkKnown(model, path);
  const { pieces, remove_extra_whitespaces: few } = model;
  const [tokens, types] = [pieces.map(({ piece }) => piece), pieces.map(({ type }) => type)];
  const symbols = types.includes(PIECE_TYPES.USER_DEFINED);
  const prefix = typeof given.add_prefix_space === 'boolean' ? given.add_prefix_space : model.add_dummy_prefix;
  // SentencePiece puts its space before a text whatever that begins with, and not behind symbols in it. `Prepend` does the one, a Metaspace at
  // the beginning the other; where texts begin with no space, a Metaspace does both.
  const { legacy } = given;
  const scheme = legacy === false || symbols ? 'first' : few ? 'always' : undefined;
  const meta = prefix && legacy !== true ? scheme : undefined;
  const normalizers = [
    ...normalizersOf(model, symbols),
    ...(prefix && !meta ? [{ type: 'Prepend', prepend: SPACE }] : []),
    ...(meta ? [] : [spacesToSigns]),
  ];
  const json: TokenizerJson = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokens, types),
    normalizer: normalizers.length ? { type: 'Sequence', normalizers } : null,
    pre_tokenizer: meta ? { type: 'Metaspace', replacement: SPACE, prepend_scheme: meta, split: false } : null,
    post_processor: null,
    decoder: piecesDecoder(prefix),
    model: modelOf(model),
  };
  const special = (id: number) => (id < 0 ? undefined : tokens[id]);
  const config: TokenizerConfig = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    clean_up_tokenization_spaces: false,
    ...{ bos_token: special(model.bos_id), eos_token: special(model.eos_id) },
    ...{ unk_token: special(model.unk_id), pad_token: special(model.pad_id) },
    add_bos_token: model.model_type === 'bpe' && model.bos_id >= 0,
    add_eos_token: model.model_type === 'unigram' && model.eos_id >= 0,
    ...given,
  };
  // Classes of transformers that make one of these files anew would not know what stands here.
  return { json, config: { ...config, tokenizer_class: 'PreTrainedTokenizerFast' } };
}
