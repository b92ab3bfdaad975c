import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nearest, OptionError } from '../core/errors';
import { show } from '../core/options';
import { writeText } from '../formats/atomic';
import { readText } from '../formats/text';
import { type Rendered, Template } from './jinja/template';
import { TemplateError } from './jinja/values';

/** One turn of a conversation. */
export type Message = { role: string; content: string };

/** A turn with all that chat templates know: parts of text, calls of tools (with content null), reasoning, further fields. */
export type ChatMessage = { role: string; content?: string | { type: string; text?: string }[] | null; [field: string]: unknown };

export interface ChatOptions {
  /** Begin the assistant's turn behind the last message. */
  add_generation_prompt?: boolean;
  /** Leave the last message's turn open, for the model to go on with. */
  continue_final_message?: boolean;
  /** JSON schemas of the functions that the model may call. */
  tools?: object[] | null;
  documents?: object[] | null;
  /** A template, or the name of one of the tokenizer's. */
  chat_template?: string;
  /** What else the template reads: enable_thinking, say. */
  [variable: string]: unknown;
}

/** One template, or several by name; in files also as a list. */
export type ChatTemplates = string | Record<string, string>;

/** What a tokenizer_config.json may hold as chat_template. */
export function templatesOf(value: unknown): ChatTemplates | undefined {
  if (value === undefined || value === null || typeof value === 'string') return value ?? undefined;
  const named = Array.isArray(value) ? Object.fromEntries(value.map((entry) => [entry?.name, entry?.template])) : (value as object);
  const entries = Object.entries(named);
  if (!entries.length || !entries.every(([name, template]) => name !== 'undefined' && typeof template === 'string'))
    throw new OptionError(`chat_template must be the text of a Jinja template, or a list of {name, template}, but is ${show(value)}.`);
  return named as Record<string, string>;
}

/** The template that transformers would take: the one asked for by name or given itself, tool_use where there are tools, default. */
function choose(templates: ChatTemplates | undefined, { chat_template: asked, tools }: ChatOptions): string {
  if (typeof templates === 'object') {
    if (asked !== undefined && Object.hasOwn(templates, asked)) return templates[asked];
    // A name has no place for a template's braces.
    if (asked !== undefined && /[{\s]/.test(asked)) return asked;
    const name = asked ?? (tools && templates.tool_use !== undefined ? 'tool_use' : 'default');
    if (templates[name] !== undefined) return templates[name];
    const [names, guess] = [Object.keys(templates), nearest(name, Object.keys(templates))];
    throw new OptionError(
      `This tokenizer has no chat template named ${show(name)}; it has ${names.join(', ')}. ` +
        (guess ? `Did you mean chat_template: '${guess}'?` : `Choose one: chat_template: '${names[0]}'.`),
    );
  }
  const template = asked ?? templates;
  if (template === undefined)
    throw new OptionError('This tokenizer has no chat template; give rows of {text} or {prompt, completion} instead of {messages}.');
  return template;
}

/** Templates by their text, those that were used last at the end: so many. */
const compiled = new Map<string, Template>();
const REMEMBERED = 64;

function compile(source: string): Template {
  let template = compiled.get(source);
  compiled.delete(source);
  if (!template) {
    try {
      template = new Template(source);
    } catch (error) {
      throw new OptionError(`The chat template cannot be read: ${(error as Error).message}. It begins ${show(source.slice(0, 60))}.`);
    }
    const [oldest] = compiled.keys();
    if (compiled.size >= REMEMBERED) compiled.delete(oldest);
  }
  compiled.set(source, template);
  return template;
}

/** Of transformers' options those that would be taken for the template's. */
const NOT_HERE = [
  'return_dict',
  'return_tensors',
  'return_assistant_tokens_mask',
  'padding',
  'truncation',
  'max_length',
  'tokenizer_kwargs',
  'sanitize_control_tokens',
];

/** As transformers: fields that are null are not there, and reasoning is found by any of its names. */
function normal(message: ChatMessage): object {
  const given = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null && value !== undefined));
  const reasoning = given.reasoning_content ?? given.thinking ?? given.reasoning;
  return reasoning === undefined ? given : { thinking: reasoning, ...given, reasoning_content: reasoning };
}

const FINAL = 'CONTINUE_FINAL_MESSAGE_TAG ';

/** The last message with a mark behind its text, and that text. */
function tagged(messages: ChatMessage[]): { messages: ChatMessage[]; text: string } {
  const last = messages.at(-1) as ChatMessage;
  const parts = Array.isArray(last.content) ? last.content : [{ type: 'text', text: last.content ?? undefined }];
  const at = parts.findLastIndex((part) => typeof part.text === 'string');
  if (at < 0) throw new OptionError('continue_final_message: the last message has no text to go on with.');
  const marked = parts.map((part, i) => (i === at ? { ...part, text: part.text + FINAL } : part));
  const content = Array.isArray(last.content) ? marked : (marked[0].text as string);
  return { messages: [...messages.slice(0, -1), { ...last, content }], text: parts[at].text as string };
}

/** The text up to the mark; a template that trims took the mark's own space. */
function untagged(rendered: string, text: string): string {
  const at = rendered.lastIndexOf(FINAL.trim());
  if (at < 0 || !rendered.includes(text.trim()))
    throw new OptionError('continue_final_message: the chat template does not write the last message as it is.');
  return rendered.startsWith(FINAL, at) ? rendered.slice(0, at) : rendered.slice(0, at).trimEnd();
}

/**
 * The text of a conversation, as transformers' apply_chat_template renders it. `special` are the tokenizer's tokens by name (bos_token).
 * `marked`: with the places of what stands in `{% generation %}`; undefined where the template has none. `now`: the time that it may write.
 */
export function renderChat(
  templates: ChatTemplates | undefined,
  messages: ChatMessage[],
  options: ChatOptions,
  special: Record<string, string>,
  marked: false,
  now?: Date,
): Rendered;
export function renderChat(
  templates: ChatTemplates | undefined,
  messages: ChatMessage[],
  options: ChatOptions,
  special: Record<string, string>,
  marked: true,
  now?: Date,
): Rendered | undefined;
export function renderChat(
  templates: ChatTemplates | undefined,
  messages: ChatMessage[],
  options: ChatOptions,
  special: Record<string, string>,
  marked = false,
  now = new Date(),
): Rendered | undefined {
  const { add_generation_prompt = false, continue_final_message = false, tools, documents, chat_template: _, ...variables } = options;
  for (const [name, list] of Object.entries({ tools, documents }))
    if (list !== undefined && list !== null && !(Array.isArray(list) && list.every((one) => one && typeof one === 'object')))
      throw new OptionError(
        `apply_chat_template: ${name} must be a list of objects (JSON schemas of functions as tools), but is ${show(list)}.`,
      );
  const other = NOT_HERE.find((name) => options[name] !== undefined);
  if (other)
    throw new OptionError(
      `apply_chat_template: ${other} is not supported; it gives the token ids of one conversation, or its text with tokenize: false.`,
    );
  if (continue_final_message && add_generation_prompt)
    throw new OptionError('apply_chat_template: give continue_final_message or add_generation_prompt, not both.');
  const template = compile(choose(templates, options));
  if (marked && !template.marksGeneration) return undefined;
  const open = continue_final_message ? tagged(messages) : undefined;
  try {
    const rendered = template.render(
      {
        ...special,
        ...variables,
        messages: (open?.messages ?? messages).map(normal),
        tools: tools ?? null,
        documents: documents ?? null,
        add_generation_prompt,
      },
      marked,
      now,
    );
    return open ? { ...rendered, text: untagged(rendered.text, open.text) } : rendered;
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new OptionError(`The chat template cannot render this conversation: ${error.message}`);
  }
}

const [FILE, FOLDER] = ['chat_template.jinja', 'additional_chat_templates'];

/** Python reads text files with each line end as LF. */
const readTemplate = async (path: string) => (await readText(path)).replaceAll(/\r\n?/g, '\n');

/** The templates that transformers finds in a folder: files go before what tokenizer_config.json holds. */
export async function readTemplates(folder: string, config: unknown): Promise<ChatTemplates | undefined> {
  const named: Record<string, string> = {};
  if (existsSync(join(folder, FILE))) named.default = await readTemplate(join(folder, FILE));
  const more = existsSync(join(folder, FOLDER)) ? (await readdir(join(folder, FOLDER))).sort() : [];
  for (const file of more.filter((name) => name.endsWith('.jinja')))
    named[file.slice(0, -'.jinja'.length)] = await readTemplate(join(folder, FOLDER, file));
  const names = Object.keys(named);
  if (!names.length) return templatesOf(config);
  return names.length === 1 && named.default !== undefined ? named.default : named;
}

/** Writes chat_template.jinja, and the templates of other names into additional_chat_templates/, as transformers does. */
export async function writeTemplates(folder: string, templates: ChatTemplates | undefined): Promise<void> {
  const named = typeof templates === 'object' ? templates : templates === undefined ? {} : { default: templates };
  for (const [name, template] of Object.entries(named)) {
    if (!/^[^/\\]+$/.test(name) || name.startsWith('.')) throw new OptionError(`${show(name)} cannot be a chat template's name.`);
    if (name !== 'default') await mkdir(join(folder, FOLDER), { recursive: true });
    await writeText(name === 'default' ? join(folder, FILE) : join(folder, FOLDER, `${name}.jinja`), template);
  }
}
