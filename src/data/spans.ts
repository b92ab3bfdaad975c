import { DataError, TunebookError } from '../core/errors';
import { show } from '../core/options';
import type { ChatMessage, ChatOptions, Tokenizer } from '../tokenizers/tokenizer';
import { addedTokens, anyOf } from './borders';
import { learnedOf } from './layouts';

/** A place in a text: [from, to). */
export type Span = [number, number];

/** Two answers without a first or last character in common: where their renderings differ, the answer stands. */
const PROBES = ['a1b2', 'z8y9'] as const;
const NUMBERS = [1111, 8888] as const;
const REASONING = ['reasoning_content', 'thinking', 'reasoning'];

/** What ends a turn in some templates without being the tokenizer's eos_token. */
const END_TOKENS = [
  '<|im_end|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
  '<end_of_turn>',
  '<turn|>',
  '<|endoftext|>',
  '<|END_OF_TURN_TOKEN|>',
];

function alike(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let n = 0;
  while (n < most && a[n] === b[n]) n++;
  return n;
}
function alikeAtEnd(a: string, b: string, most: number): number {
  let n = 0;
  while (n < most && a[a.length - 1 - n] === b[b.length - 1 - n]) n++;
  return n;
}

/** Call arguments and the like with other texts and numbers in them; some fields must stay what they are. */
function replaced(value: unknown, probe: 0 | 1, kept: string[]): unknown {
  if (typeof value === 'string') return PROBES[probe];
  if (typeof value === 'number') return NUMBERS[probe];
  if (Array.isArray(value)) return value.map((item) => replaced(item, probe, kept));
  if (!value || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, kept.includes(key) ? item : replaced(item, probe, kept)]));
}

/** A message with another text in each place that it has one. */
function probed(message: ChatMessage, probe: 0 | 1, kept: string[]): ChatMessage {
  const { content, tool_calls: calls } = message;
  const other: ChatMessage = { ...message };
  const calling = Array.isArray(calls) && calls.length > 0;
  if (calling) other.tool_calls = replaced(calls, probe, kept);
  if (Array.isArray(content)) other.content = content.map((part) => ('text' in part ? { ...part, text: PROBES[probe] } : part));
  else if (content || !calling) other.content = PROBES[probe];
  for (const name of REASONING) if (typeof message[name] === 'string' && message[name]) other[name] = PROBES[probe];
  return other;
}

const patterns = new WeakMap<Tokenizer, RegExp>();

/** A pattern that finds what may end a turn. */
function specialTokens(tokenizer: Tokenizer): RegExp {
  let pattern = patterns.get(tokenizer);
  if (!pattern) {
    const special = [...tokenizer.added_tokens_encoder].flatMap(([token, id]) => (tokenizer.isSpecial(id) ? token : []));
    pattern = anyOf([...special, ...END_TOKENS]);
    patterns.set(tokenizer, pattern);
  }
  return pattern;
}

/** The ids of tokens that end a turn or a text. */
export const endTokens = (tokenizer: Tokenizer): Set<number> =>
  new Set(
    [tokenizer.eos_token, ...END_TOKENS].flatMap((token) =>
      token && tokenizer.has(token) ? (tokenizer.convert_tokens_to_ids(token) as number) : [],
    ),
  );

/** The turns of one conversation in its rendering. */
class Turns {
  readonly text: string;
  /** One time for all renderings: some templates write it. */
  private readonly now = new Date();
  private readonly special: RegExp;
  private readonly beginnings = new Map<string, string | undefined>();

  constructor(
    private readonly messages: ChatMessage[],
    private readonly tokenizer: Tokenizer,
    private readonly options: ChatOptions,
  ) {
    this.text = tokenizer.renderChat(messages, options, this.now);
    this.special = specialTokens(tokenizer);
  }

  private render(messages: ChatMessage[], prompt = false): string | undefined {
    try {
      return this.tokenizer.renderChat(messages, { ...this.options, add_generation_prompt: prompt }, this.now);
    } catch (error) {
      // A template may refuse what is no whole conversation (roles that do not alternate).
      if (error instanceof TunebookError) return undefined;
      throw error;
    }
  }
  private beginning(count: number, prompt = false): string | undefined {
    const key = `${count} ${prompt}`;
    if (!this.beginnings.has(key)) this.beginnings.set(key, this.render(this.messages.slice(0, count), prompt));
    return this.beginnings.get(key);
  }

  /**
   * Where in `text`, the rendering of `messages`, the words of message i stand: what changes when they do. `null`: they are not written;
   * undefined: the template does not render it with other words.
   */
  private written(text: string, messages: ChatMessage[], i: number, prompt = false): Span | null | undefined {
    const rendered = (kept: string[]) =>
      ([0, 1] as const).map((probe) => this.render(messages.with(i, probed(messages[i], probe, kept)), prompt));
    let others = rendered(['id', 'type']);
    // A template may know its tools by name.
    if (others.includes(undefined) && messages[i].tool_calls) others = rendered(['id', 'type', 'name']);
    if (others.includes(undefined)) return undefined;
    if (others.every((other) => other === text)) return null;
    const from = Math.min(...others.map((other) => alike(text, other as string)));
    const behind = others.map((other) => alikeAtEnd(text, other as string, Math.min(text.length, (other as string).length) - from));
    return [from, text.length - Math.min(...behind)];
  }

  /** Where the words of message i stand in the whole text; null where the template leaves them out. */
  words(i: number): Span | null {
    const span = this.written(this.text, this.messages, i);
    if (span === undefined) throw this.unproven(i, 'stands');
    const alone = i + 1 < this.messages.length ? this.beginning(i + 1) : undefined;
    if (!span || alone === undefined) return span;
    const whole = this.text.startsWith(alone);
    if (whole ? span[1] <= alone.length : !this.messages[i].tool_calls) return span;
    // A template may repeat words later (a call's name with its result): those that are written before are the turn's.
    const own = this.written(alone, this.messages.slice(0, i + 1), i);
    if (own && this.text.startsWith(alone.slice(...own), span[0])) return [span[0], span[0] + own[1] - own[0]];
    if (whole) throw this.unproven(i, 'ends');
    return span;
  }

  /** Where what the model is to write begins: behind the generation prompt. */
  start(i: number, words: Span | null): number {
    const prompt = this.beginning(i, true);
    const limit = words?.[0] ?? this.text.length;
    if (prompt !== undefined && i > 0 && this.text.startsWith(prompt) && prompt.length <= limit)
      return prompt.length + this.header(i, prompt, limit);
    const found = i > 0 && prompt !== undefined ? this.behindQuestion(i, prompt, limit) : this.behindPrompt(limit);
    if (found === undefined) throw this.unproven(i, 'begins');
    return found;
  }

  /** What a template without generation prompt writes at the beginning of each answer: `<|im_start|>assistant`. */
  private header(i: number, prompt: string, limit: number): number {
    if (!this.text.slice(prompt.length, limit).trim() || this.beginning(i) !== prompt) return 0;
    const answers = PROBES.map((content) => this.render([...this.messages.slice(0, i), { role: 'assistant', content }]));
    if (answers[0] === undefined || answers[1] === undefined) return 0;
    const header = answers[0].slice(prompt.length, alike(answers[0], answers[1]));
    return header.trim() && this.text.startsWith(header, prompt.length) ? header.length : 0;
  }

  /**
   * Where the beginning is rendered otherwise alone than in the whole (a system text in the last question, reasoning that is dropped
   * later): what stands between the last words and the answer is the same all the same.
   */
  private behindQuestion(i: number, prompt: string, limit: number): number | undefined {
    const before = this.messages.slice(0, i);
    const alone = this.written(prompt, before, i - 1, true);
    const whole = this.written(this.text, this.messages, i - 1);
    if (!alone || !whole || whole[1] > limit) return undefined;
    const between = prompt.slice(alone[1]);
    if (this.text.startsWith(between, whole[1]) && whole[1] + between.length <= limit) return whole[1] + between.length;
    // A prompt that goes further than the data's answers do (it opens or leaves out a thought): what they have of it, in whole lines
    // and tokens, is its beginning.
    const asked = this.beginning(i)?.length;
    if (asked === undefined) return undefined;
    const rest = this.text.slice(whole[1], limit);
    const common = alike(between, rest);
    const borders = [/\n/g, addedTokens(this.tokenizer)].flatMap((border) =>
      [...between.slice(0, common).matchAll(border)].map((found) => found.index + found[0].length),
    );
    const end = common === rest.length ? common : Math.max(0, ...borders);
    return between.slice(asked - alone[1], end).trim() ? whole[1] + end : undefined;
  }

  /** A conversation that the assistant opens: behind the generation prompt of any other. */
  private behindPrompt(limit: number): number | undefined {
    const question = [{ role: 'user', content: PROBES[0] }];
    const [without, withPrompt] = [this.render(question), this.render(question, true)];
    if (without === undefined || !withPrompt?.startsWith(without)) return undefined;
    const prompt = withPrompt.slice(without.length);
    const at = this.text.lastIndexOf(prompt, limit - prompt.length);
    return at < 0 || limit < prompt.length ? undefined : at + prompt.length;
  }

  /** Where the assistant's turn ends: behind the token that ends it. */
  end(i: number, words: Span): number {
    const rest = this.text.slice(words[1]);
    const own = this.ending(i, rest);
    if (!this.text.startsWith(own, words[1])) throw this.unproven(i, 'ends');
    const parts = own.split(this.special);
    if (parts.length > 1) return words[1] + own.length - (parts.at(-1) as string).length;
    if (own.trim()) return words[1] + own.length;
    const [space, token] = rest.split(this.special, 2);
    return token && !space.trim() && this.isEnd(token) ? words[1] + space.length + token.length : words[1] + own.length;
  }

  private isEnd = (token: string): boolean => token === this.tokenizer.eos_token || END_TOKENS.includes(token);

  /** What the template writes behind the answer whether or not a turn follows. */
  private ending(i: number, rest: string): string {
    const upTo = this.messages.slice(0, i + 1);
    const last = upTo.length === this.messages.length;
    const tail = (messages: ChatMessage[]): string | undefined => {
      const text = this.render(messages);
      if (text === undefined) return undefined;
      const words = text === this.text ? undefined : this.written(text, messages, i);
      return words ? text.slice(words[1]) : undefined;
    };
    if (!last) {
      const alone = this.beginning(i + 1);
      if (alone !== undefined && this.text.startsWith(alone)) return rest.slice(0, alone.length - (this.text.length - rest.length));
      return this.common(tail(upTo) ?? rest, rest);
    }
    const followed = [...upTo, { role: 'user', content: PROBES[0] }];
    const text = this.render(followed);
    return text === undefined || text.startsWith(this.text) ? rest : this.common(rest, tail(followed) ?? rest);
  }

  /** All of `alone` where `followed` goes on from it; else what they have in common up to a special token's end. */
  private common(alone: string, followed: string): string {
    if (followed.startsWith(alone)) return alone;
    const [a, b] = [alone, followed].map((text) => text.split(this.special));
    let n = 0;
    while (n < Math.min(a.length, b.length) && a[n] === b[n]) n++;
    return a.slice(0, n - (n % 2)).join('');
  }

  private unproven(i: number, what: string): DataError {
    const source = this.tokenizer.chat_template;
    const template = typeof source === 'string' ? source : JSON.stringify(source ?? null);
    return new DataError(
      `where message ${i} (${this.messages[i].role}) ${what} in the text cannot be told: the chat template (${show(template.slice(0, 80))}) renders the beginning of a ` +
        'conversation otherwise than the whole. Put {% generation %} and {% endgeneration %} around the answers in it, give rows of {prompt, completion}, or set assistant_only_loss: false.',
    );
  }
}

/** The turns to learn, where a turn says so itself; else undefined: the assistant's. */
function chosenTurns(messages: ChatMessage[]): boolean[] | undefined {
  const said = messages.map(learnedOf);
  if (said.every((one) => one === undefined)) return undefined;
  return messages.map(({ role }, i) => said[i] ?? role === 'assistant');
}

/**
 * The text of a conversation, and in it what the assistant wrote, each turn with the token that ends it; turns with `weight` or `train` say
 * themselves whether they are among it. The template's own `{% generation %}` marks decide where it has them, as in transformers. Else renderings of
 * the conversation's beginnings and renderings with other answers do, each checked against the whole; any template serves as it is. Errors: DataError
 * where nothing proves a turn's place.
 */
export function assistantSpans(messages: ChatMessage[], tokenizer: Tokenizer, options: ChatOptions = {}): { text: string; spans: Span[] } {
  const chosen = chosenTurns(messages);
  const marked = tokenizer.renderMarked(messages, options);
  const answers = messages.flatMap(({ role }, i) => (role === 'assistant' ? [i] : []));
  if (marked && !chosen) return { text: marked.text, spans: marked.generated };
  if (marked && marked.generated.length === answers.length && messages.every(({ role }, i) => role === 'assistant' || !chosen?.[i]))
    return { text: marked.text, spans: marked.generated.filter((_, i) => chosen?.[answers[i]]) };
  const turns = new Turns(messages, tokenizer, options);
  const spans: Span[] = [];
  for (const [i, { role }] of messages.entries()) {
    if (!(chosen ? chosen[i] : role === 'assistant')) continue;
    const words = turns.words(i);
    if (!words) continue;
    const span: Span = role === 'assistant' ? [turns.start(i, words), turns.end(i, words)] : words;
    if (span[0] < (spans.at(-1)?.[1] ?? 0) || span[0] > words[0] || span[1] < words[1])
      throw new DataError(`the places of the assistant's turns cannot be told: message ${i} would reach from ${span[0]} to ${span[1]}.`);
    spans.push(span);
  }
  return { text: turns.text, spans };
}

/** Whether a conversation's turns say themselves which of them are learned. */
export const saysTurns = (messages: ChatMessage[]): boolean => chosenTurns(messages) !== undefined;

/** The text of prompt and completion, and where the completion begins in it. */
export function completionStart(
  prompt: ChatMessage[],
  completion: ChatMessage[],
  tokenizer: Tokenizer,
  options: ChatOptions = {},
): { text: string; from: number } {
  const turns = new Turns([...prompt, ...completion], tokenizer, options);
  return { text: turns.text, from: turns.start(prompt.length, turns.words(prompt.length)) };
}
