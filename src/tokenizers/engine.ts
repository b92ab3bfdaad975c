import { OptionError } from '../core/errors';
import { mendDecoder, mendPreTokenizer, normalizer, preTokenizer } from './engine_mends';

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
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  pre_tokenizer: HubPreTokenizer | null;
  decoder: HubDecoder | null;
  post_processor: unknown;
}
export interface HubPreTokenizer {
  config?: Part;
  pattern?: RegExp | null;
  tokenizers?: HubPreTokenizer[];
  pre_tokenize_text(text: string): string[];
}
export interface HubDecoder {
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
    mendPreTokenizer(this.hub.pre_tokenizer);
    mendDecoder(this.hub.decoder);
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
    const known = ids.filter((id) => this.hub.id_to_token(id) !== undefined);
    return known.length ? this.hub.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false }) : '';
  }

  idOf(token: string): number | undefined {
    return this.hub.token_to_id(token);
  }

  tokenOf(id: number): string | undefined {
    return this.hub.id_to_token(id);
  }
}
