import { randomUUID } from 'node:crypto';
import type { ChatTemplates } from '../tokenizers/chat_template';

/** A call of a tool, as OpenAI gives it: arguments as the text of a JSON object. */
export interface ToolCall {
  id: string;
  type: 'function';
  function: { name: string; arguments: string };
}

interface Parser {
  /** What a call begins with. */
  begin: string[];
  /** What one without that begins with, as the answer's first words. */
  first?: string[];
  /** What may stand behind a call. */
  behind: string[];
  /** Whether the name may stand before the arguments. */
  named?: boolean;
}

/** How families of models write calls, by vLLM's names. */
export const PARSERS: Readonly<Record<string, Parser>> = {
  hermes: { begin: ['<tool_call>'], behind: ['</tool_call>'] },
  mistral: { begin: ['[TOOL_CALLS]'], behind: [','], named: true },
  llama3_json: { begin: ['<|python_tag|>'], first: ['{"name"', '{ "name"'], behind: [';'] },
  granite: { begin: ['<|tool_call|>', '<tool_call>'], behind: ['<|/tool_call|>', '</tool_call>'] },
};

/** The one that a chat template writes calls by; undefined where it knows no calls. */
export function parserOf(templates: ChatTemplates | undefined): string | undefined {
  const text = typeof templates === 'string' ? templates : Object.values(templates ?? {}).join('\n');
  if (text.includes('[TOOL_CALLS]')) return 'mistral';
  if (text.includes('<|tool_call|>')) return 'granite';
  if (text.includes('<tool_call>')) return 'hermes';
  if (text.includes('<|python_tag|>') || (text.includes('"parameters": ') && text.includes('tools'))) return 'llama3_json';
  return undefined;
}

/** Where a JSON value that begins here ends; undefined where it does not. */
function valueEnd(text: string, from: number): number | undefined {
  let [depth, quoted] = [0, false];
  for (let at = from; at < text.length; at++) {
    const c = text[at];
    if (quoted) {
      if (c === '\\') at++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === '{' || c === '[') depth++;
    else if ((c === '}' || c === ']') && --depth === 0) return at + 1;
  }
  return undefined;
}

/** Calls out of what an answer has of them, one or a list; undefined where it is no call. */
export function callsOf(value: unknown): ToolCall[] | undefined {
  const calls = [value].flat().map((one) => {
    const { name, arguments: given, parameters } = (one ?? {}) as Record<string, unknown>;
    const args = given ?? parameters ?? {};
    if (typeof name !== 'string' || !name) return undefined;
    const text = typeof args === 'string' ? args : JSON.stringify(args);
    return { id: `call_${randomUUID().replaceAll('-', '')}`, type: 'function' as const, function: { name, arguments: text } };
  });
  return calls.length && calls.every((call) => call) ? (calls as ToolCall[]) : undefined;
}

/** Takes calls of tools out of an answer while it is written. What looks like one and cannot be read stays text. */
export class ToolCalls {
  private readonly parser: Parser;
  /** Text that may be the beginning of a call, or is one that is not whole. */
  private held = '';
  /** What of the answer comes: its first words, text, calls, or text in which none are looked for any more. */
  private state: 'first' | 'text' | 'calls' | 'rest' = 'first';
  /** What the call began with that is being read. */
  private mark = '';
  private found = false;

  constructor(parser: string) {
    this.parser = PARSERS[parser];
  }

  /** Takes text; returns what of it is text for sure, and the calls that are whole. */
  put(text: string): { text: string; calls: ToolCall[] } {
    this.held += text;
    const calls: ToolCall[] = [];
    let out = '';
    if (this.state === 'first') this.begin();
    if (this.state === 'text') out += this.text();
    while (this.state === 'calls') {
      const more = this.call();
      if (!more) break;
      calls.push(...more);
    }
    if (this.state === 'rest') out += this.taken(this.held.length);
    return { text: out, calls };
  }

  private taken(length: number): string {
    const text = this.held.slice(0, length);
    this.held = this.held.slice(length);
    return text;
  }

  /** Whether the first words are a call's is known when there are enough of them. */
  private begin(): void {
    const start = this.held.trimStart();
    const { first = [] } = this.parser;
    if (first.some((mark) => start.startsWith(mark))) this.state = 'calls';
    else if (!first.some((mark) => mark.startsWith(start))) this.state = 'text';
  }

  /** Text up to where a call begins, or may begin. */
  private text(): string {
    const { begin } = this.parser;
    const [at, mark] = begin.map((one) => [this.held.indexOf(one), one] as const).find(([found]) => found >= 0) ?? [-1, ''];
    if (at >= 0) {
      const text = this.taken(at);
      this.taken(mark.length);
      [this.mark, this.state] = [mark, 'calls'];
      return text;
    }
    return this.taken(this.held.length - Math.max(...begin.map((one) => begun(this.held, one))));
  }

  /** The next calls; undefined where they are not whole yet, or there are none. */
  private call(): ToolCall[] | undefined {
    const { begin, behind, named } = this.parser;
    this.held = this.held.trimStart();
    const marks = this.found ? [...behind, ...begin] : [];
    const mark = marks.find((one) => this.held.startsWith(one));
    if (mark !== undefined) {
      this.taken(mark.length);
      return [];
    }
    if (marks.some((one) => one.startsWith(this.held)) || !this.held) return undefined;
    const name = named ? /^([\w.-]+)\s*(?:\[ARGS\])?\s*(?=\{)/.exec(this.held) : null;
    if (named && /^[\w.-]+\s*(\[A?R?G?S?\]?)?\s*$/.test(this.held)) return undefined;
    const from = name ? name[0].length : 0;
    if (!'{['.includes(this.held[from])) return this.give();
    const end = valueEnd(this.held, from);
    if (end === undefined) return undefined;
    try {
      const value = JSON.parse(this.held.slice(from, end));
      const calls = callsOf(name ? { name: name[1], arguments: value } : value);
      if (!calls) return this.give();
      this.taken(end);
      [this.found, this.mark] = [true, ''];
      return calls;
    } catch {
      return this.give();
    }
  }

  /** It is no call: what began like one is text, with its mark. */
  private give(): undefined {
    this.held = this.mark + this.held;
    [this.mark, this.state] = ['', 'rest'];
  }

  /** What is left when the answer is over. */
  end(): string {
    const { begin, behind } = this.parser;
    const isMark = this.found && [...behind, ...begin].some((one) => one.startsWith(this.held));
    return isMark ? '' : this.mark + this.held;
  }
}

/** How many of a text's last characters are the first of another. */
export function begun(text: string, of: string): number {
  for (let length = Math.min(text.length, of.length - 1); length > 0; length--) if (text.endsWith(of.slice(0, length))) return length;
  return 0;
}
