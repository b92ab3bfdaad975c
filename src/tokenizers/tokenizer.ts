import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { FileError, OptionError } from '../core/errors';
import type { GgufValue } from '../formats/gguf';
import { readJson } from '../formats/json';

/** What of the two packages is used; their types speak of ES modules only, though both bring a CommonJS build. */
interface JinjaTemplate {
  render(variables: object): string;
}
interface HubTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
}
const jinja = require('@huggingface/jinja') as { Template: new (source: string) => JinjaTemplate };
const hub = require('@huggingface/tokenizers') as { Tokenizer: new (json: object, config: object) => HubTokenizer };

export interface Message {
  role: string;
  content: string;
}

interface TokenizerConfig {
  chat_template?: string;
  bos_token?: string | { content: string } | null;
  eos_token?: string | { content: string } | null;
  pad_token?: string | { content: string } | null;
  unk_token?: string | { content: string } | null;
  [name: string]: unknown;
}

/** Text to token ids and back, and a model's chat template; files and results as in transformers. */
export class Tokenizer {
  readonly chat_template?: string;
  private readonly hub: HubTokenizer;
  private readonly template?: JinjaTemplate;

  constructor(
    private readonly json: object,
    private readonly config: TokenizerConfig,
  ) {
    this.hub = new hub.Tokenizer(json, config);
    this.chat_template = config.chat_template;
    if (this.chat_template) this.template = new jinja.Template(this.chat_template);
  }

  /** Reads tokenizer.json, tokenizer_config.json and chat_template.jinja of a folder. */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const path = join(folder, 'tokenizer.json');
    if (!existsSync(path))
      throw new FileError(`${folder} has no tokenizer.json. Save the tokenizer beside the model (tokenizer.save_pretrained).`);
    const [configPath, templatePath] = ['tokenizer_config.json', 'chat_template.jinja'].map((file) => join(folder, file));
    const config: TokenizerConfig = existsSync(configPath) ? await readJson(configPath) : {};
    const json = await readJson(path);
    if (existsSync(templatePath)) config.chat_template = await readFile(templatePath, 'utf8');
    try {
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

  /** The text of a conversation as the model expects it. */
  renderChat(messages: Message[], { add_generation_prompt = false }: { add_generation_prompt?: boolean } = {}): string {
    if (!this.template)
      throw new OptionError('This tokenizer has no chat template; give rows of {text} or {prompt, completion} instead of {messages}.');
    return this.template.render({
      messages,
      add_generation_prompt,
      bos_token: this.bos_token ?? '',
      eos_token: this.eos_token ?? '',
      pad_token: this.pad_token ?? '',
    });
  }

  /** Token ids of a conversation, or its text with `tokenize: false`. */
  apply_chat_template(messages: Message[], options: { tokenize: false; add_generation_prompt?: boolean }): string;
  apply_chat_template(messages: Message[], options?: { tokenize?: true; add_generation_prompt?: boolean }): number[];
  apply_chat_template(messages: Message[], options: { tokenize?: boolean; add_generation_prompt?: boolean } = {}): number[] | string {
    const text = this.renderChat(messages, options);
    return options.tokenize === false ? text : this.encode(text, { add_special_tokens: false });
  }

  /** Writes tokenizer.json, tokenizer_config.json and chat_template.jinja. */
  async save_pretrained(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    const { chat_template: template, ...config } = this.config;
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(this.json));
    await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
    if (template) await writeFile(join(folder, 'chat_template.jinja'), template);
  }
}
