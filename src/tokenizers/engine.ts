import { OptionError } from '../core/errors';

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
  decoder: HubDecoder | null;
  post_processor: unknown;
}
interface HubDecoder {
  config: Part;
  decoders?: HubDecoder[];
  decode_chain(tokens: string[]): string[];
}
const hub = require('@huggingface/tokenizers') as {
  Tokenizer: new (json: object, config: object) => HubTokenizer;
  SequencePostProcessor: new (config: object) => unknown;
};

/** The split of GPT-2, which a ByteLevel pre-tokenizer makes by itself. */
const GPT2_SPLIT = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
export const split = (regex: string): Part => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false });

/** Letters that match s and k where case is ignored, beyond ASCII: the long s and the Kelvin sign. */
const FOLDED: Record<string, string> = { s: '[sS\u017f]', k: '[kK\u212a]' };
const foldCase = (regex: string) =>
  regex.replace(/\(\?i:((?:[\w'|]|\[\w+\])+)\)/g, (_, body: string) => {
    const letters = body.replace(/\[(\w+)\]|[a-z]/gi, (found, list?: string) =>
      list ? `(?:${[...list].map(either).join('|')})` : either(found),
    );
    return `(?:${letters})`;
  });
const either = (letter: string) => FOLDED[letter.toLowerCase()] ?? `[${letter.toLowerCase()}${letter.toUpperCase()}]`;

/**
 * A pre-tokenizer in the words in which the package splits as the Rust original does. Its own ByteLevel and Digits go by JavaScript's
 * \s (which has U+FEFF and lacks U+0085) and ASCII's digits, its Metaspace does not split, and its (?i:...) knows ASCII only.
 */
function preTokenizer(part: Part): Part {
  const sequence = (...pretokenizers: Part[]): Part => ({ type: 'Sequence', pretokenizers });
  switch (part.type) {
    case 'Sequence':
      return sequence(...(part.pretokenizers as Part[]).map(preTokenizer));
    case 'ByteLevel':
      if (part.use_regex === false) return part;
      return part.add_prefix_space
        ? sequence({ type: 'Replace', pattern: { Regex: String.raw`\A(?! )` }, content: ' ' }, split(GPT2_SPLIT), {
            ...part,
            add_prefix_space: false,
            use_regex: false,
          })
        : sequence(split(GPT2_SPLIT), { ...part, use_regex: false });
    case 'Digits':
      return split(part.individual_digits ? String.raw`\p{N}` : String.raw`\p{N}+`);
    case 'Metaspace': {
      const mark = (part.replacement as string | undefined) ?? '\u2581';
      return part.split === false ? part : sequence(part, split(`${mark}?[^${mark}]+|${mark}`));
    }
    case 'Split': {
      const { Regex: regex } = part.pattern as { Regex?: string };
      return regex === undefined ? part : { ...part, pattern: { Regex: foldCase(regex) } };
    }
    default:
      return part;
  }
}

/** GPT-2's visible characters for bytes. */
const BYTES = new Map<string, number>();
for (let byte = 0, extra = 256; byte < 256; byte++) {
  const visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  BYTES.set(String.fromCodePoint(visible ? byte : extra++), byte);
}
const utf8 = (bytes: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

function bytesOf(token: string): Uint8Array {
  const bytes = Array.from(token, (c) => BYTES.get(c));
  return bytes.includes(undefined) ? Buffer.from(token) : Uint8Array.from(bytes as number[]);
}

/** Runs of <0x..> tokens as the characters they spell; where they spell none, a replacement sign for each. */
function joinBytes(tokens: string[]): string[] {
  const joined: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (!run.length) return;
    const bytes = Uint8Array.from(run);
    const text = utf8(bytes);
    joined.push(Buffer.from(text).equals(bytes) ? text : '\ufffd'.repeat(run.length));
    run = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    if (byte) run.push(Number.parseInt(byte[1], 16));
    else {
      flush();
      joined.push(token);
    }
  }
  flush();
  return joined;
}

/** Decoders that differ from the Rust original in the package: on added tokens, broken bytes, byte order marks and leading spaces. */
const DECODERS: Record<string, (tokens: string[], config: Part) => string[]> = {
  ByteLevel: (tokens) => [utf8(Buffer.concat(tokens.map(bytesOf)))],
  ByteFallback: joinBytes,
  Metaspace: (tokens, { replacement = '\u2581', prepend_scheme }) =>
    tokens.map((token, i) => token.replaceAll(replacement as string, i || prepend_scheme === 'never' ? ' ' : '')),
};
function mendDecoder(decoder: HubDecoder | null): void {
  if (!decoder) return;
  const mended = DECODERS[decoder.config.type];
  if (mended) decoder.decode_chain = (tokens) => mended(tokens, decoder.config);
  decoder.decoders?.forEach(mendDecoder);
}

/** Text to ids and back by a tokenizer.json: @huggingface/tokenizers, held to what the Rust original computes. */
export class Engine {
  private readonly hub: HubTokenizer;

  constructor(json: TokenizerJson, config: { eos_token?: string }) {
    const { normalizer = null, pre_tokenizer: pre, post_processor = null, decoder = null, added_tokens = [] } = json;
    this.hub = new hub.Tokenizer(
      { ...json, normalizer, pre_tokenizer: pre ? preTokenizer(pre) : null, post_processor, decoder, added_tokens },
      config,
    );
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
