import type { FastifyInstance } from 'fastify';
import type { StructuredOutputs } from '../../generate/grammar/constraint';
import type { ChatMessage } from '../../tokenizers/chat_template';
import { Asked, type WritingBody } from '../asked';
import { Exchange, head } from '../exchange';
import { type Scored, type Scores, tokenText } from '../logprobs';
import { refuse } from '../refusal';
import { CHAT_REQUEST, REPLIES, replies } from '../schemas';
import type { Service } from '../service';
import { callsOf, type ToolCall, ToolCalls } from '../tool_calls';
import type { Piece } from '../writer';

interface Message {
  role: string;
  content?: string | { type: 'text'; text: string }[] | null;
  tool_calls?: { function: { name: string; arguments: string } }[] | null;
  [name: string]: unknown;
}

interface Body extends WritingBody {
  messages: Message[];
  max_completion_tokens?: number | null;
  logprobs?: boolean | null;
  top_logprobs?: number | null;
  tools?: Record<string, unknown>[] | null;
  tool_choice?: 'none' | 'auto' | 'required' | { function: { name: string } } | null;
  parallel_tool_calls?: boolean | null;
  response_format?: { type: string; json_schema?: { schema: object } } | null;
  chat_template_kwargs?: Record<string, unknown> | null;
  add_generation_prompt?: boolean | null;
  continue_final_message?: boolean | null;
}

/** Arguments as what they say, since templates write them as JSON themselves. */
function argumentsOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A message as chat templates know it: one text, calls with their arguments as objects. */
function forTemplate({ content, tool_calls, ...rest }: Message): ChatMessage {
  const text = Array.isArray(content) ? content.map((part) => part.text).join('\n') : (content ?? undefined);
  const calls = tool_calls?.map((call) => ({ ...call, function: { ...call.function, arguments: argumentsOf(call.function.arguments) } }));
  return { ...rest, role: rest.role === 'developer' ? 'system' : rest.role, content: text, tool_calls: calls } as unknown as ChatMessage;
}

interface Tool {
  function: { name: string; parameters?: object };
}

/** What a request asks of tools: those that the prompt tells of, and how the answer has calls in it. */
interface Calling {
  tools?: Tool[];
  /** How its text has calls; undefined where it may have none. */
  parser?: string;
  /** What the answer has to be. */
  form?: StructuredOutputs;
  /** It is the arguments of this tool, or with '' a list of calls. */
  forced?: string;
}

function callingOf({ tools: given, tool_choice: choice, response_format: format }: Body, service: Service): Calling {
  const form =
    format?.type === 'json_object'
      ? { json_object: true }
      : format?.type === 'json_schema'
        ? { json: format.json_schema?.schema }
        : undefined;
  const tools = given?.length ? (given as unknown as Tool[]) : undefined;
  if (!tools && choice && choice !== 'none' && choice !== 'auto') throw refuse('tool_choice needs tools.', 'tool_choice');
  if (!tools || choice === 'none') return { form };
  const parametersOf = (tool: Tool) => tool.function.parameters ?? { type: 'object', additionalProperties: true };
  if (choice && choice !== 'auto') {
    if (form) throw refuse('An answer is a call or of a form: leave out tool_choice or response_format.', 'response_format');
    const name = typeof choice === 'string' ? undefined : choice.function.name;
    const wanted = tools.filter((tool) => name === undefined || tool.function.name === name);
    if (!wanted.length) throw refuse(`tool_choice is '${name}', which is none of the tools.`, 'tool_choice');
    if (name !== undefined) return { tools, form: { json: parametersOf(wanted[0]) }, forced: name };
    const calls = wanted.map((tool) => ({
      type: 'object',
      properties: { name: { const: tool.function.name }, parameters: parametersOf(tool) },
      required: ['name', 'parameters'],
      additionalProperties: false,
    }));
    return { tools, form: { json: { type: 'array', minItems: 1, items: calls.length > 1 ? { anyOf: calls } : calls[0] } }, forced: '' };
  }
  if (!service.toolParser)
    throw refuse("This model's chat template knows no tools; if the model does, start the server with tool_call_parser.", 'tools');
  return { tools, parser: service.toolParser, form };
}

/** What are options of rendering, or fields of the request, and no variables of a template. */
const NO_VARIABLES = ['messages', 'tools', 'chat_template', 'tokenize', 'add_generation_prompt', 'continue_final_message'];

function promptOf(body: Body, service: Service, tools: Tool[] | undefined): number[] {
  const { messages, chat_template_kwargs: variables, continue_final_message, add_generation_prompt } = body;
  const other = NO_VARIABLES.find((name) => Object.hasOwn(variables ?? {}, name));
  if (other) throw refuse(`chat_template_kwargs: ${other} is no variable of a template. Leave it out.`, 'chat_template_kwargs');
  return service.tokenizer.apply_chat_template(messages.map(forTemplate), {
    ...variables,
    ...(tools ? { tools: tools as unknown as Record<string, unknown>[] } : {}),
    add_generation_prompt: add_generation_prompt ?? !continue_final_message,
    ...(continue_final_message ? { continue_final_message } : {}),
  });
}

/** The log-probabilities of tokens, as chat completions have them. */
function logprobsOf(service: Service, scores: Scores[]) {
  const one = ({ id, logprob }: Scored) => ({ ...tokenText(service.tokenizer, id), logprob });
  return { content: scores.map((score) => ({ ...one(score), top_logprobs: score.top.map(one) })), refusal: null };
}

/** An answer's text without its calls, and these. */
class Parsed {
  private readonly reader?: ToolCalls;
  private count = 0;
  private held = '';

  constructor(
    private readonly calling: Calling,
    private readonly several: boolean,
  ) {
    if (calling.parser) this.reader = new ToolCalls(calling.parser);
  }

  put({ text, finish_reason }: { text: string; finish_reason?: Piece['finish_reason'] }) {
    if (this.calling.forced !== undefined) return this.forced(text, this.calling.forced, finish_reason);
    if (!this.reader) return { text, calls: [], finish_reason };
    const found = this.reader.put(text);
    const rest = finish_reason ? this.reader.end() : '';
    return { text: found.text + rest, calls: this.counted(found.calls), finish_reason: this.reason(finish_reason) };
  }

  private reason(reason: Piece['finish_reason']) {
    return reason === 'stop' && this.count ? 'tool_calls' : reason;
  }

  private counted(calls: ToolCall[]) {
    return calls.map((call) => ({ ...call, index: this.count++ })).filter(({ index }) => this.several || index === 0);
  }

  /** The whole answer is arguments or a list of calls: what is not whole (its tokens were too few) stays text. */
  private forced(text: string, name: string, finish_reason: Piece['finish_reason']) {
    this.held += text;
    if (!finish_reason) return { text: '', calls: [], finish_reason };
    try {
      const value = JSON.parse(this.held);
      const calls = this.counted(callsOf(name ? { name, arguments: value } : value) ?? []);
      return { text: '', calls, finish_reason: this.reason(finish_reason) };
    } catch {
      return { text: this.held, calls: [], finish_reason };
    }
  }
}

const uncounted = (calls: (ToolCall & { index: number })[]): ToolCall[] => calls.map(({ index: _, ...call }) => call);

export function chat(app: FastifyInstance, service: Service): void {
  const schema = {
    summary: 'Answers a conversation.',
    operationId: 'createChatCompletion',
    body: CHAT_REQUEST,
    response: replies(REPLIES.chat, [400, 401, 404, 408, 413, 415, 500, 503, 504], true),
  };
  app.post<{ Body: Body }>('/v1/chat/completions', { schema }, async ({ body }, reply) => {
    await service.adapters.ready();
    service.adapterOf(body.model);
    if (body.top_logprobs && !body.logprobs) throw refuse('top_logprobs needs logprobs: true.', 'top_logprobs');
    const calling = callingOf(body, service);
    const prompt = promptOf(body, service, calling.tools);
    const max_tokens = body.max_completion_tokens ?? body.max_tokens;
    const asked = new Asked(service, { ...body, max_tokens }, [prompt], {
      answers: body.n ?? 1,
      logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
      special: calling.parser !== undefined,
      form: calling.form,
      names: { prompt: 'messages', answers: 'n' },
    });
    const exchange = new Exchange(service, asked, reply);
    const parser = () => new Parsed(calling, body.parallel_tool_calls !== false);
    if (body.stream) {
      await streamed(body, service, exchange, parser);
      return reply;
    }
    const made = await exchange.whole();
    const choices = made.map((piece) => {
      const { text, calls, finish_reason } = parser().put(piece);
      const said = calls.length ? text.trim() || null : text;
      const message = { role: 'assistant', content: said, refusal: null, ...(calls.length ? { tool_calls: uncounted(calls) } : {}) };
      return { index: piece.index, message, logprobs: body.logprobs ? logprobsOf(service, piece.scores) : null, finish_reason };
    });
    return { ...head('chat.completion', 'chatcmpl', body.model), choices, usage: exchange.usage };
  });
}

async function streamed(body: Body, service: Service, exchange: Exchange, parser: () => Parsed): Promise<void> {
  const start = head('chat.completion.chunk', 'chatcmpl', body.model);
  const open = Array.from({ length: body.n ?? 1 }, parser);
  const chunk = (index: number, delta: object, finish_reason: string | null = null, logprobs: object | null = null) => ({
    ...start,
    choices: [{ index, delta, logprobs, finish_reason }],
  });
  const begin = open.map((_, index) => chunk(index, { role: 'assistant', content: '' }));
  const pieces = (piece: Piece) => {
    const { text, calls, finish_reason } = open[piece.index].put(piece);
    const logprobs = body.logprobs && piece.scores.length ? logprobsOf(service, piece.scores) : null;
    const delta = { ...(text ? { content: text } : {}), ...(calls.length ? { tool_calls: calls } : {}) };
    const sent = Object.keys(delta).length || logprobs ? [chunk(piece.index, delta, null, logprobs)] : [];
    return finish_reason ? [...sent, chunk(piece.index, {}, finish_reason)] : sent;
  };
  const usage = () => (body.stream_options?.include_usage ? [{ ...start, choices: [], usage: exchange.usage }] : []);
  await exchange.stream(begin, pieces, usage);
}
