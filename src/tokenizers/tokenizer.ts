import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { FileError, OptionError } from '../core/errors';
import type { GgufValue } from '../formats/gguf';
import { readJson } from '../formats/json';
import {
  type ChatMessage,
  type ChatOptions,
  type ChatTemplates,
  readTemplates,
  renderChat,
  templatesOf,
  writeTemplates,
} from './chat_template';
import type { Rendered } from './jinja/template';

export type { ChatMessage, ChatOptions, Message } from './chat_template';

/** What of the package is used; its types speak of ES modules only, though it brings a CommonJS build. */
interface HubTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  get_added_tokens_decoder(): Map<number, { content: string }>;
}
const hub = require('@huggingface/tokenizers') as { Tokenizer: new (json: object, config: object) => HubTokenizer };

interface TokenizerConfig {
  chat_template?: unknown;
  bos_token?: string | { content: string } | null;
  eos_token?: string | { content: string } | null;
  pad_token?: string | { content: string } | null;
  unk_token?: string | { content: string } | null;
  [name: string]: unknown;
}

/** Text to token ids and back, and a model's chat template; files and results as in transformers. */
export class Tokenizer {
  /** A Jinja template, or several by name: 'default', 'tool_use'. */
  chat_template?: ChatTemplates;
  private readonly hub: HubTokenizer;
  private added?: ReadonlyMap<string, number>;

  constructor(
    private readonly json: object,
    private readonly config: TokenizerConfig,
  ) {
    this.hub = new hub.Tokenizer(json, config);
    this.chat_template = templatesOf(config.chat_template);
  }

  /** Reads tokenizer.json, tokenizer_config.json and the chat templates of a folder. */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const path = join(folder, 'tokenizer.json');
    if (!existsSync(path))
      throw new FileError(`${folder} has no tokenizer.json. Save the tokenizer beside the model (tokenizer.save_pretrained).`);
    const configPath = join(folder, 'tokenizer_config.json');
    const config: TokenizerConfig = existsSync(configPath) ? await readJson(configPath) : {};
    const json = await readJson(path);
    try {
      config.chat_template = await readTemplates(folder, config.chat_template);
      return new Tokenizer(json, config);
    } catch (error) {
      throw new FileError(
        `The tokenizer in ${folder} cannot be used (${(error as Error).message}): its files are damaged or of a kind that is not known here.`,
      );
    }
  }

  /** The tokenizer inside a GGUF file, as transformers reads it: byte-level BPE ("gpt2" there). */
  static fromGguf(metadata: Map<string, GgufValue>, path: string): Tokenizer {
    const model = metadata.get('tokenizer.ggml.model');
    if (model !== 'gpt2')
      throw new FileError(
        `${path}: a GGUF tokenizer of kind ${String(model)} is not supported; put its tokenizer.json beside a safetensors model instead.`,
      );
    const tokens = metadata.get('tokenizer.ggml.tokens') as string[];
    const types = (metadata.get('tokenizer.ggml.token_type') ?? []) as number[];
    const merges = metadata.get('tokenizer.ggml.merges') as string[];
    const token = (name: string) => {
      const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
      return id === undefined ? undefined : tokens[Number(id)];
    };
    const CONTROL = 3;
    const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
    const json = {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: tokens.flatMap((content, id) =>
        types[id] === CONTROL ? [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }] : [],
      ),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: { ...byteLevel, add_prefix_space: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: '',
        end_of_word_suffix: '',
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(tokens.map((content, id) => [content, id])),
        merges: merges.map((merge) => merge.split(' ')),
      },
    };
    return new Tokenizer(json, {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      chat_template: metadata.get('tokenizer.chat_template') as string | undefined,
      bos_token: token('bos'),
      eos_token: token('eos'),
      pad_token: token('padding'),
      unk_token: token('unknown'),
    });
  }

  private special(name: 'bos_token' | 'eos_token' | 'pad_token' | 'unk_token'): string | undefined {
    const value = this.config[name];
    return (typeof value === 'object' ? value?.content : value) ?? undefined;
  }
  get bos_token() {
    return this.special('bos_token');
  }
  get eos_token() {
    return this.special('eos_token');
  }
  get pad_token() {
    return this.special('pad_token');
  }
  get eos_token_id(): number | undefined {
    return this.idOf(this.eos_token);
  }
  get pad_token_id(): number | undefined {
    return this.idOf(this.pad_token);
  }
  private idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.hub.token_to_id(token);
  }

  /** Token ids of a text. `add_special_tokens` adds those that the tokenizer puts around every text. */
  encode(text: string, { add_special_tokens = true }: { add_special_tokens?: boolean } = {}): number[] {
    if (typeof text !== 'string')
      throw new OptionError(
        `encode takes a text, but got ${inspect(text, { depth: 0 })}. For several texts, encode each: texts.map((t) => tokenizer.encode(t)).`,
      );
    return text ? this.hub.encode(text, { add_special_tokens }).ids : [];
  }

  decode(ids: number[], { skip_special_tokens = false }: { skip_special_tokens?: boolean } = {}): string {
    return ids.length ? this.hub.decode(ids, { skip_special_tokens, clean_up_tokenization_spaces: false }) : '';
  }

  /** The tokens that templates know by name. */
  private specialTokens(): Record<string, string> {
    const names = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;
    const tokens: Record<string, string> = {};
    for (const name of names) {
      const token = this.special(name);
      if (token !== undefined) tokens[name] = token;
    }
    return tokens;
  }

  /** The text of a conversation as the model expects it. */
  renderChat(messages: ChatMessage[], options: ChatOptions = {}): string {
    return renderChat(this.chat_template, messages, options, this.specialTokens()).text;
  }

  /** The text with the places that the template marks by `{% generation %}` as the assistant's; undefined where it marks none. */
  renderMarked(messages: ChatMessage[], options: ChatOptions = {}): Rendered | undefined {
    return renderChat(this.chat_template, messages, options, this.specialTokens(), true);
  }

  /** Ids of the tokens that no text around them changes: `<|im_end|>`. */
  get added_tokens_encoder(): ReadonlyMap<string, number> {
    this.added ??= new Map([...this.hub.get_added_tokens_decoder()].map(([id, { content }]) => [content, id]));
    return this.added;
  }

  /**
   * Token ids of a conversation, or its text with `tokenize: false`. Further options are the template's: tools, enable_thinking.
   */
  apply_chat_template(messages: ChatMessage[], options: ChatOptions & { tokenize: false }): string;
  apply_chat_template(messages: ChatMessage[], options?: ChatOptions & { tokenize?: true }): number[];
  apply_chat_template(
    messages: ChatMessage[],
    { tokenize = true, ...options }: ChatOptions & { tokenize?: boolean } = {},
  ): number[] | string {
    if (!messages.length) throw new OptionError('apply_chat_template needs at least one message.');
    const text = this.renderChat(messages, options);
    return tokenize ? this.encode(text, { add_special_tokens: false }) : text;
  }

  /** Writes tokenizer.json, tokenizer_config.json and the chat templates. */
  async save_pretrained(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    const { chat_template: _, ...config } = this.config;
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(this.json));
    await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
    await writeTemplates(folder, this.chat_template);
  }
}
