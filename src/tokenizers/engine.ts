import { OptionError } from '../core/errors';
import { mendDecoder, mendNormalizer, mendPreTokenizer, mendUnigram, normalizer, preTokenizer } from './engine_mends';

/** tokenizer.json, as far as it is read here: https://huggingface.co/docs/tokenizers. */
export interface TokenizerJson {
  added_tokens?: AddedToken[];
  normalizer?: Part | null;
  pre_tokenizer?: Part | null;
  post_processor?: Part | null;
  decoder?: Part | null;
  model: { type?: string; vocab: Record<string, number> | [string, number][]; [name: string]: unknown };
  [name: string]: unknown;
}
export interface AddedToken {
  id: number;
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}
/** A normalizer, pre-tokenizer, post-processor or decoder. */
export interface Part {
  type: string;
  [name: string]: unknown;
}

/** What of the package is used; its types speak of ES modules only, though it brings a CommonJS build. */
interface HubTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  pre_tokenizer: HubPreTokenizer | null;
  decoder: HubDecoder | null;
  normalizer: HubNormalizer | null;
  post_processor: unknown;
  model: HubModel;
}
/** Of kinds whose pieces have scores, as far as it is mended. */
export interface HubModel {
  config?: { byte_fallback?: unknown };
  scores?: number[];
  unk_score?: number;
  unk_token_id?: number;
  tokens_to_ids: Map<string, number>;
  trie?: { common_prefix_search(chars: string[], from: number): Iterable<string> };
  tokenize?(text: string): string[];
}
export interface HubPreTokenizer {
  config?: Part;
  pattern?: RegExp | null;
  tokenizers?: HubPreTokenizer[];
  pre_tokenize_text(text: string): string[];
}
export interface HubNormalizer {
  (text: string): string;
  config: Part;
  normalizers?: HubNormalizer[];
  normalize(text: string): string;
}
export interface HubDecoder {
  (tokens: string[]): string;
  end_of_word_suffix?: string;
  config: Part;
  decoders?: HubDecoder[];
  decode_chain(tokens: string[]): string[];
}
const hub = require('@huggingface/tokenizers') as {
  Tokenizer: new (json: object, config: object) => HubTokenizer;
  SequencePostProcessor: new (config: object) => unknown;
};

/** Text to ids and back by a tokenizer.json: @huggingface/tokenizers, held to what the Rust original computes. */
export class Engine {
  private readonly hub: HubTokenizer;
  /** What decoding makes of added tokens that are looked for in normalised text: they are normalised themselves. */
  private readonly shown = new Map<number, string>();

  constructor(json: TokenizerJson, config: { eos_token?: string }) {
    const { normalizer: normal, pre_tokenizer: pre, post_processor = null, decoder = null, added_tokens = [] } = json;
    this.hub = new hub.Tokenizer(
      {
        ...json,
        normalizer: normal ? normalizer(normal) : null,
        pre_tokenizer: pre ? preTokenizer(pre) : null,
        post_processor,
        decoder,
        added_tokens,
      },
      config,
    );
    mendNormalizer(this.hub.normalizer);
    mendPreTokenizer(this.hub.pre_tokenizer);
    mendDecoder(this.hub.decoder);
    mendUnigram(this.hub.model);
    for (const { id, content, normalized } of added_tokens)
      if (normalized && this.hub.normalizer) this.shown.set(id, this.hub.normalizer(content));
  }

  set postProcessor(part: Part) {
    this.hub.post_processor = new hub.SequencePostProcessor({ processors: [part] });
  }

  /** Half a character becomes a replacement sign, as anywhere where text becomes UTF-8. */
  encode(text: string, add_special_tokens: boolean): number[] {
    const { ids } = this.hub.encode(Buffer.from(text).toString(), { add_special_tokens });
    const lost = ids.indexOf(undefined);
    if (lost >= 0) throw new OptionError(`The tokenizer has no token for a part of ${JSON.stringify(text.slice(0, 80))} and no unk_token.`);
    return ids as number[];
  }

  /** Ids without a token, as rows beyond the vocabulary have them, are passed over. */
  decode(ids: number[]): string {
    const { decoder } = this.hub;
    const tokens = ids.flatMap((id) => this.shown.get(id) ?? this.hub.id_to_token(id) ?? []);
    if (!decoder) return tokens.join(' ');
    const text = tokens.length ? decoder(tokens) : '';
    return decoder.end_of_word_suffix ? text.replaceAll(decoder.end_of_word_suffix, ' ') : text;
  }

  idOf(token: string): number | undefined {
    return this.hub.token_to_id(token);
  }

  tokenOf(id: number): string | undefined {
    return this.hub.id_to_token(id);
  }
}
