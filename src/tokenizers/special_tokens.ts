import { OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { Callable } from './callable';
import type { AddedToken, Part, TokenizerJson } from './engine';

/** The named special tokens of transformers, each with its id as `<name>_id`. */
export const SPECIAL_TOKENS = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const;
export type SpecialToken = (typeof SPECIAL_TOKENS)[number];
type Content = string | { content: string } | null;

/** tokenizer_config.json, as far as it is read here. */
export type TokenizerConfig = { [name in SpecialToken]?: Content } & {
  extra_special_tokens?: Content[] | Record<string, Content>;
  additional_special_tokens?: Content[];
  added_tokens_decoder?: Record<string, Omit<AddedToken, 'id'>>;
  add_bos_token?: boolean;
  add_eos_token?: boolean;
  chat_template?: unknown;
  [name: string]: unknown;
};

export const contentOf = (token: Content | undefined): string | undefined => (typeof token === 'object' ? token?.content : token);

/** Special tokens beside the named ones; older files call the list additional_special_tokens. */
export function extraTokens({ extra_special_tokens: extra, additional_special_tokens: additional }: TokenizerConfig): string[] {
  const tokens = [...Object.values(extra ?? {}), ...(additional ?? [])].map((token) => contentOf(token as Content));
  return [...new Set(tokens.filter((token) => token !== undefined))];
}

/**
 * The tokenizer with the tokens that its configuration adds: as in transformers those of added_tokens_decoder, and each special
 * token, which is so never split and is left out where decoding skips special tokens. One that the vocabulary lacks gets the next id.
 */
export function withConfig(json: TokenizerJson, config: TokenizerConfig): TokenizerJson {
  const added = new Map((json.added_tokens ?? []).map((token) => [token.content, token]));
  const vocab = json.model.vocab;
  const ids = Array.isArray(vocab) ? new Map(vocab.map(([token], id) => [token, id])) : vocab;
  const idIn = (token: string) => (ids instanceof Map ? ids.get(token) : Object.hasOwn(ids, token) ? ids[token] : undefined);
  const next = () => {
    let id = Array.isArray(vocab) ? vocab.length : Object.keys(vocab).length;
    for (const token of added.values()) id = Math.max(id, token.id + 1);
    return id;
  };
  for (const [id, token] of Object.entries(config.added_tokens_decoder ?? {}))
    if (!added.has(token.content)) added.set(token.content, { ...token, id: Number(id) });
  for (const content of [...SPECIAL_TOKENS.map((name) => contentOf(config[name])), ...extraTokens(config)]) {
    if (content === undefined) continue;
    const known = added.get(content);
    const plain = { content, single_word: false, lstrip: false, rstrip: false, normalized: false };
    added.set(content, { ...(known ?? { ...plain, id: idIn(content) ?? next() }), special: true });
  }
  return { ...json, added_tokens: [...added.values()].sort((a, b) => a.id - b.id) };
}

/** A token to be added: its text, or that with how it is found, as Python's AddedToken. */
export type NewToken = string | ({ content: string } & Partial<Omit<AddedToken, 'id'>>);

/** The added tokens of a tokenizer, with new ones; as in Python, one that the vocabulary has keeps its id. */
export function withAdded(json: TokenizerJson, tokens: NewToken[], special: boolean): AddedToken[] {
  const { vocab } = json.model;
  const ids = Array.isArray(vocab) ? new Map(vocab.map(([token], id) => [token, id])) : new Map(Object.entries(vocab));
  const added = new Map((json.added_tokens ?? []).map((token) => [token.content, token]));
  let next = Math.max(Array.isArray(vocab) ? vocab.length : ids.size, ...[...added.values()].map(({ id }) => id + 1));
  for (const token of tokens) {
    const content = contentOf(token);
    if (typeof content !== 'string') throw new OptionError(`A token to be added must be a text, but got ${show(token)}.`);
    if (!content) continue;
    const known = added.get(content);
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: !special };
    const made = { ...plain, special, ...(typeof token === 'string' ? {} : token), content, ...(special ? { special } : {}) };
    if (known && (Object.keys(plain) as (keyof typeof plain)[]).every((key) => known[key] === made[key]) && known.special === made.special)
      continue;
    added.set(content, { ...made, id: known?.id ?? ids.get(content) ?? next++ });
  }
  return [...added.values()].sort((a, b) => a.id - b.id);
}

/** The post-processor that puts tokens before and behind each text. */
export function template(before: { token: string; id: number }[], after: { token: string; id: number }[]): Part {
  const special = (type_id: number) => (one: { token: string }) => ({ SpecialToken: { id: one.token, type_id } });
  const around = (id: string, type_id: number) => [
    ...before.map(special(type_id)),
    { Sequence: { id, type_id } },
    ...after.map(special(type_id)),
  ];
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries([...before, ...after].map(({ token, id }) => [token, { id: token, ids: [id], tokens: [token] }])),
  };
}

/** What the accessors below need of a tokenizer. */
export abstract class SpecialTokenStore extends Callable {
  protected abstract readonly config: TokenizerConfig;
  abstract convert_tokens_to_ids(token: string): number | undefined;
  abstract convert_ids_to_tokens(id: number): string | undefined;
  /** Whether a token is in the vocabulary. */
  abstract has(token: string): boolean;
  /** Called when a special token was set. */
  protected abstract specialsChanged(): void;

  protected abstract json: TokenizerJson;
  /** Takes another tokenizer.json. */
  protected abstract remade(json: TokenizerJson): void;

  /**
   * Adds tokens that no text around them changes; returns how many are new. A model needs a row for each then:
   * `await model.resize_token_embeddings(tokenizer.length)`. `special_tokens`: decoding leaves them out with skip_special_tokens.
   */
  add_tokens(new_tokens: NewToken | NewToken[], options: { special_tokens?: boolean } = {}): number {
    const { special_tokens } = readOptions('add_tokens', options, { special_tokens: false });
    const before = this.json.added_tokens ?? [];
    const after = withAdded(this.json, [new_tokens].flat(), special_tokens);
    if (after.length === before.length && after.every((token, i) => token === before[i])) return 0;
    const count = after.filter((token) => !before.includes(token)).length;
    this.remade({ ...this.json, added_tokens: after });
    return count;
  }

  /**
   * Sets named special tokens (pad_token, ...) and further ones (extra_special_tokens, also called additional_special_tokens), adding those
   * that the vocabulary lacks; returns how many are new. `replace_extra_special_tokens`: further ones take the place of those there were.
   */
  add_special_tokens(
    special_tokens: { [name in SpecialToken]?: NewToken } & {
      extra_special_tokens?: NewToken[];
      additional_special_tokens?: NewToken[];
    },
    options: { replace_extra_special_tokens?: boolean } = {},
  ): number {
    const { replace_extra_special_tokens: replace } = readOptions('add_special_tokens', options, { replace_extra_special_tokens: true });
    const { extra_special_tokens, additional_special_tokens, ...named } = special_tokens;
    const unknown = Object.keys(named).find((name) => !SPECIAL_TOKENS.includes(name as SpecialToken));
    if (unknown !== undefined)
      throw new OptionError(
        `add_special_tokens: ${show(unknown)} is no special token; they are ${SPECIAL_TOKENS.join(', ')} and extra_special_tokens.`,
      );
    const extra = extra_special_tokens ?? additional_special_tokens;
    const added = this.add_tokens([...(Object.values(named) as NewToken[]), ...(extra ?? [])], { special_tokens: true });
    for (const [name, token] of Object.entries(named)) this.setSpecial(name as SpecialToken, contentOf(token));
    if (extra) {
      const kept = replace ? [] : extraTokens(this.config);
      delete this.config.additional_special_tokens;
      this.config.extra_special_tokens = [...new Set([...kept, ...extra.map((token) => contentOf(token) as string)])];
    }
    return added;
  }

  getSpecial(name: SpecialToken): string | undefined {
    return contentOf(this.config[name]);
  }

  setSpecial(name: SpecialToken, token: unknown): void {
    if (token === undefined || token === null) this.config[name] = null;
    else if (typeof token !== 'string') throw new OptionError(`${name} must be a text, but got ${show(token)}.`);
    else if (!this.has(token))
      throw new OptionError(
        `${name} = ${show(token)}: the vocabulary has no such token, and the model no row for it. Take one that it has, as tokenizer.eos_token, or add it: tokenizer.add_special_tokens({ ${name}: ${show(token)} }), then model.resize_token_embeddings(tokenizer.length).`,
      );
    else this.config[name] = token;
    this.specialsChanged();
  }

  setSpecialId(name: SpecialToken, id: unknown): void {
    const none = id === undefined || id === null;
    const token = Number.isInteger(id) ? this.convert_ids_to_tokens(id as number) : undefined;
    if (!none && token === undefined) throw new OptionError(`${name}_id = ${show(id)}: the vocabulary has no token of that id.`);
    this.setSpecial(name, token);
  }
}

/** `tokenizer.pad_token = tokenizer.eos_token`, `tokenizer.pad_token_id = 2` and so on; undefined (or null) where there is none. */
type Accessors = { [name in SpecialToken]: string | undefined } & { [name in `${SpecialToken}_id`]: number | undefined };

for (const name of SPECIAL_TOKENS) {
  Object.defineProperty(SpecialTokenStore.prototype, name, {
    get(this: SpecialTokenStore) {
      return this.getSpecial(name);
    },
    set(this: SpecialTokenStore, token: unknown) {
      this.setSpecial(name, token);
    },
  });
  Object.defineProperty(SpecialTokenStore.prototype, `${name}_id`, {
    get(this: SpecialTokenStore) {
      const token = this.getSpecial(name);
      return token === undefined ? undefined : this.convert_tokens_to_ids(token);
    },
    set(this: SpecialTokenStore, id: unknown) {
      this.setSpecialId(name, id);
    },
  });
}
export const WithSpecialTokens = SpecialTokenStore as abstract new () => SpecialTokenStore & Accessors;
