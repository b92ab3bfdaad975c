import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { FileError, OptionError } from '../core/errors';
import { checkNumber, show } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import { writeText } from '../formats/atomic';
import type { GgufValue } from '../formats/gguf';
import type { GgufEntry } from '../formats/gguf_write';
import { readJson } from '../formats/json';
import { type GivenPush, pushSaved } from '../hub/push';
import type { Pushed } from '../hub/upload';
import { type CallOptions, call, type Encoded } from './call';
import {
  type ChatMessage,
  type ChatOptions,
  type ChatTemplates,
  readTemplates,
  renderChat,
  templatesOf,
  writeTemplates,
} from './chat_template';
import { type AddedToken, Engine, type TokenizerJson } from './engine';
import { convertGguf } from './gguf';
import { tokenizerEntries, valuesOf } from './gguf_write';
import type { Rendered } from './jinja/template';
import { type Offset, offsetsOf } from './offsets';
import { convertSentencePiece } from './sentencepiece';
import {
  contentOf,
  extraTokens,
  SPECIAL_TOKENS,
  type SpecialToken,
  type TokenizerConfig,
  template,
  WithSpecialTokens,
  withConfig,
} from './special_tokens';
import { tokenBytes } from './token_bytes';

export type { ChatMessage, ChatOptions, Message } from './chat_template';

type Side = 'left' | 'right';

/** What SentencePiece models are called. */
export const SENTENCE_PIECE = ['tokenizer.model', 'spiece.model', 'spm.model'];

export interface Tokenizer {
  /** See `called`. */
  // biome-ignore lint/style/useShorthandFunctionType: joined with the class of the same name
  <T extends string | string[]>(texts: T, options?: Partial<CallOptions>): Encoded<T>;
}

/** Text to token ids and back, and a model's chat template; files and results as in transformers. */
export class Tokenizer extends WithSpecialTokens {
  private engine: Engine;
  protected json: TokenizerJson;
  protected readonly config: TokenizerConfig;
  private specials: Set<number>;
  private templates?: ChatTemplates;
  private added?: ReadonlyMap<string, number>;

  constructor(json: object, config: TokenizerConfig) {
    super();
    this.config = { ...config };
    this.json = withConfig(json as TokenizerJson, config);
    [this.engine, this.specials] = this.made();
    this.templates = templatesOf(config.chat_template);
    if (config.add_bos_token !== undefined || config.add_eos_token !== undefined)
      this.addAround(config.add_bos_token ?? false, config.add_eos_token ?? false);
  }

  protected remade(json: TokenizerJson): void {
    this.json = json;
    [this.engine, this.specials] = this.made();
    this.added = undefined;
  }

  private made(): [Engine, Set<number>] {
    const specials = this.json.added_tokens?.filter(({ special }) => special).map(({ id }) => id);
    return [new Engine(this.json, { eos_token: this.eos_token }), new Set(specials)];
  }

  /** Reads tokenizer.json (or a SentencePiece model), tokenizer_config.json and the chat templates of a folder. */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const path = ['tokenizer.json', ...SENTENCE_PIECE].map((name) => join(folder, name)).find(existsSync);
    if (path === undefined)
      throw new FileError(
        `${folder} has no tokenizer.json, and no SentencePiece model (${SENTENCE_PIECE.join(', ')}). Save the tokenizer beside the model (tokenizer.save_pretrained).`,
      );
    const configPath = join(folder, 'tokenizer_config.json');
    const given: TokenizerConfig = existsSync(configPath) ? await readJson(configPath) : {};
    const { json, config } = path.endsWith('.json')
      ? { json: await readJson(path), config: given }
      : convertSentencePiece(await readFile(path), path, given);
    try {
      config.chat_template = await readTemplates(folder, config.chat_template);
      return new Tokenizer(json, config);
    } catch (error) {
      throw new FileError(
        `The tokenizer in ${folder} cannot be used (${(error as Error).message}): its files are damaged or of a kind that is not known here.`,
      );
    }
  }

  /** The tokenizer inside a GGUF file. */
  static fromGguf(metadata: Map<string, GgufValue>, path: string): Tokenizer {
    const { json, config } = convertGguf(metadata, path);
    return new Tokenizer(json, config);
  }

  /**
   * Its part of a GGUF file's metadata, for a model of `size` tokens: vocabulary, special tokens, chat templates. A FileError where
   * llama.cpp has no tokenizer like it.
   */
  toGguf(size: number): Map<string, GgufEntry> {
    const { json } = this;
    const idOf = (name: 'bos' | 'eos' | 'unk' | 'pad') => this[`${name}_token_id`];
    const encode = (text: string) => this.encode(text, { add_special_tokens: false });
    const adds = { bos: this.add_bos_token, eos: this.add_eos_token };
    const own = { json, special: idOf, adds, encode, templates: this.chat_template };
    return tokenizerEntries(own, size, (entries) => {
      const read = Tokenizer.fromGguf(valuesOf(entries), 'the file to be written');
      return (probe) => read.encode(probe, { add_special_tokens: false });
    });
  }

  /** A Jinja template, or several by name: 'default', 'tool_use'; undefined where there is none. */
  get chat_template(): ChatTemplates | undefined {
    return this.templates;
  }
  set chat_template(templates: ChatTemplates | undefined) {
    this.templates = templatesOf(templates);
  }

  /** As transformers prints it. */
  [inspect.custom](): string {
    return `Tokenizer(${inspect(this.shown, { breakLength: 120 })})`;
  }

  [DISPLAY](): Shown {
    const { special_tokens, ...options } = this.shown;
    const { 'text/html': html } = optionsShown('Tokenizer', { ...options, ...special_tokens });
    return { 'text/plain': inspect(this), 'text/html': html };
  }

  private get shown() {
    const { length, model_max_length, padding_side, truncation_side, special_tokens_map } = this;
    return { vocab_size: length, model_max_length, padding_side, truncation_side, special_tokens: special_tokens_map };
  }

  /** The named special tokens that are set, with those that only this model has. */
  get special_tokens_map(): Record<string, string> {
    const { extra_special_tokens: extra } = this.config;
    const own = Object.entries(Array.isArray(extra) ? {} : (extra ?? {})).map(([name, token]) => [name, contentOf(token)]);
    const named = [...SPECIAL_TOKENS.map((name) => [name, this.getSpecial(name)]), ...own];
    return Object.fromEntries(named.filter(([, token]) => token !== undefined));
  }
  /** The named special tokens and the further ones of the configuration, each once. */
  get all_special_tokens(): string[] {
    return [...new Set([...Object.values(this.special_tokens_map), ...extraTokens(this.config)])];
  }
  get all_special_ids(): number[] {
    return this.all_special_tokens.map((token) => this.convert_tokens_to_ids(token) as number);
  }
  /** Tokens of the vocabulary without the added ones. */
  get vocab_size(): number {
    return Object.keys(this.json.model.vocab).length;
  }
  /** All tokens, Python's len(tokenizer). */
  get length(): number {
    const { vocab } = this.json.model;
    const known = Array.isArray(vocab) ? new Set(vocab.map(([token]) => token)) : undefined;
    const isNew = (token: string) => (known ? !known.has(token) : !Object.hasOwn(vocab, token));
    return this.vocab_size + (this.json.added_tokens ?? []).filter(({ content }) => isNew(content)).length;
  }

  /** Whether a text gets the BOS (EOS) token; setting it replaces what the tokenizer puts around each text. */
  get add_bos_token(): boolean {
    return this.bos_token_id !== undefined && this.encode('')[0] === this.bos_token_id;
  }
  set add_bos_token(add: boolean) {
    this.need('add_bos_token', add, 'bos_token');
    this.addAround(add, this.add_eos_token);
  }
  get add_eos_token(): boolean {
    return this.eos_token_id !== undefined && this.encode('x').at(-1) === this.eos_token_id;
  }
  set add_eos_token(add: boolean) {
    this.need('add_eos_token', add, 'eos_token');
    this.addAround(this.add_bos_token, add);
  }
  private need(name: string, add: unknown, token: SpecialToken): void {
    if (typeof add !== 'boolean') throw new OptionError(`${name} must be true or false, but got ${show(add)}.`);
    if (add && this.getSpecial(token) === undefined) throw new OptionError(`${name} = true needs a ${token}, and none is set.`);
  }
  private addAround(bos: boolean, eos: boolean): void {
    const one = (token: string | undefined, add: boolean) =>
      add && token !== undefined ? [{ token, id: this.convert_tokens_to_ids(token) as number }] : [];
    Object.assign(this.config, { add_bos_token: bos, add_eos_token: eos });
    this.json.post_processor = template(one(this.bos_token, bos), one(this.eos_token, eos));
    this.engine.postProcessor = this.json.post_processor;
  }
  protected specialsChanged(): void {
    const { add_bos_token: bos, add_eos_token: eos } = this.config;
    if (bos !== undefined || eos !== undefined) this.addAround(bos ?? false, eos ?? false);
  }

  /** Kept and saved for transformers. Here rows are padded on the right and cut at their ends. */
  get padding_side(): Side {
    return (this.config.padding_side as Side) ?? 'right';
  }
  set padding_side(side: Side) {
    this.config.padding_side = sideOf('padding_side', side);
  }
  get truncation_side(): Side {
    return (this.config.truncation_side as Side) ?? 'right';
  }
  set truncation_side(side: Side) {
    this.config.truncation_side = sideOf('truncation_side', side);
  }
  /** The longest text in tokens that the model was made for; a huge number where nothing says so. Kept and saved. */
  get model_max_length(): number {
    return (this.config.model_max_length as number) ?? 1e30;
  }
  set model_max_length(tokens: number) {
    checkNumber('the tokenizer', 'model_max_length', tokens, { min: 1 }, 'It is a number of tokens.');
    this.config.model_max_length = tokens;
  }

  /** Whether a token is in the vocabulary. */
  has(token: string): boolean {
    return this.engine.idOf(token) !== undefined;
  }

  /** The id of a token, or of each; unk_token's, or undefined, for one that is not in the vocabulary. */
  convert_tokens_to_ids(token: string): number | undefined;
  convert_tokens_to_ids(tokens: string[]): (number | undefined)[];
  convert_tokens_to_ids(tokens: string | string[]): number | undefined | (number | undefined)[] {
    if (Array.isArray(tokens)) return tokens.map((token) => this.convert_tokens_to_ids(token));
    return this.engine.idOf(tokens) ?? (this.unk_token === undefined ? undefined : this.engine.idOf(this.unk_token));
  }

  /** The token of an id, or of each; undefined for an id that has none. */
  convert_ids_to_tokens(id: number): string | undefined;
  convert_ids_to_tokens(ids: number[]): (string | undefined)[];
  convert_ids_to_tokens(ids: number | number[]): string | undefined | (string | undefined)[] {
    return Array.isArray(ids) ? ids.map((id) => this.engine.tokenOf(id)) : this.engine.tokenOf(ids);
  }

  /** What a token adds to a text, as bytes: a part of a character, perhaps. Undefined for an id that has none. */
  bytesOf(id: number): Uint8Array | undefined {
    const token = this.engine.tokenOf(id);
    if (token === undefined) return undefined;
    return this.added_tokens_encoder.has(token) ? Buffer.from(token) : tokenBytes(this.json, token);
  }

  /** Whether decoding leaves a token out with skip_special_tokens. */
  isSpecial(id: number): boolean {
    return this.specials.has(id);
  }

  /** Token ids of a text. `add_special_tokens` adds those that the tokenizer puts around every text. */
  encode(text: string, { add_special_tokens = true }: { add_special_tokens?: boolean } = {}): number[] {
    if (typeof text !== 'string')
      throw new OptionError(
        `encode takes a text, but got ${inspect(text, { depth: 0 })}. For several texts, encode each: texts.map((t) => tokenizer.encode(t)).`,
      );
    return this.engine.encode(text, add_special_tokens);
  }

  /**
   * `tokenizer('a text')`, as in transformers: rows of ids of one text or several with attention_mask, padded and cut as asked for, and where each
   * token stands in its text (in JavaScript's characters, of which Python counts 😀 as one and JavaScript as two).
   */
  called<T extends string | string[]>(texts: T, options: Partial<CallOptions> = {}): Encoded<T> {
    return call(this, texts, options);
  }

  /** Where each of the tokens of a text stands in it; `ids` are without those put around it. */
  offsets(text: string, ids: number[]): Offset[] {
    return offsetsOf(
      this.json,
      text,
      ids.map((id) => this.engine.tokenOf(id) ?? ''),
    );
  }

  /** The text of token ids, or of one. */
  decode(ids: number | ArrayLike<number>, { skip_special_tokens = false }: { skip_special_tokens?: boolean } = {}): string {
    const all = typeof ids === 'number' ? [ids] : Array.from(ids);
    const wrong = all.findIndex((id) => !Number.isInteger(id));
    if (wrong >= 0) throw new OptionError(`decode takes token ids, but got ${show(all[wrong])}.`);
    return this.engine.decode(skip_special_tokens ? all.filter((id) => !this.isSpecial(id)) : all);
  }

  /** The text of a conversation as the model expects it; `now` is the time that templates may write. */
  renderChat(messages: ChatMessage[], options: ChatOptions = {}, now?: Date): string {
    return renderChat(this.chat_template, messages, options, this.special_tokens_map, false, now).text;
  }

  /** The text with the places that the template marks by `{% generation %}` as the assistant's; undefined where it marks none. */
  renderMarked(messages: ChatMessage[], options: ChatOptions = {}): Rendered | undefined {
    return renderChat(this.chat_template, messages, options, this.special_tokens_map, true);
  }

  /** The tokens that no text around them changes, with how they are found in texts, by their ids. */
  get added_tokens(): readonly AddedToken[] {
    return [...(this.json.added_tokens ?? [])].sort((a, b) => a.id - b.id);
  }
  /** Ids of the tokens that no text around them changes: `<|im_end|>`. */
  get added_tokens_encoder(): ReadonlyMap<string, number> {
    this.added ??= new Map((this.json.added_tokens ?? []).map(({ content, id }) => [content, id]));
    return this.added;
  }

  /**
   * Token ids of a conversation, or its text with `tokenize: false`. Further options are the template's: tools, enable_thinking.
   */
  apply_chat_template(messages: ChatMessage[] | string, options: ChatOptions & { tokenize: false }): string;
  apply_chat_template(messages: ChatMessage[] | string, options?: ChatOptions & { tokenize?: true }): number[];
  apply_chat_template(
    messages: ChatMessage[] | string,
    { tokenize = true, ...options }: ChatOptions & { tokenize?: boolean } = {},
  ): number[] | string {
    if (typeof messages === 'string')
      throw new OptionError(
        `apply_chat_template takes a conversation, but got the text ${show(messages)}. Give [{ role: 'user', content: ${show(messages)} }].`,
      );
    if (!messages.length) throw new OptionError('apply_chat_template needs at least one message.');
    const text = this.renderChat(messages, options);
    return tokenize ? this.encode(text, { add_special_tokens: false }) : text;
  }

  /** Writes tokenizer.json, tokenizer_config.json and the chat templates. */
  async save_pretrained(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    const { chat_template: _, ...config } = this.config;
    await writeText(join(folder, 'tokenizer.json'), JSON.stringify(this.json));
    await writeText(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
    await writeTemplates(folder, this.chat_template);
  }

  /** Pushes the tokenizer's files to a repository of the Hub, which is made where it is not there. */
  push_to_hub(repo_id: string, options: GivenPush = {}): Promise<Pushed> {
    return pushSaved(repo_id, options, 'tokenizer', (folder) => this.save_pretrained(folder));
  }
}

function sideOf(name: string, side: unknown): Side {
  if (side !== 'left' && side !== 'right') throw new OptionError(`${name} must be 'left' or 'right', but got ${show(side)}.`);
  return side;
}
