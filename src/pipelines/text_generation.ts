import { nearest, OptionError } from '../core/errors';
import { escapeHtml, tableHtml } from '../core/html';
import { checkNumber, readOptions, show } from '../core/options';
import { optionsShown, shownAs } from '../core/shown';
import type { GenerateOptions } from '../generate/generate';
import { AsyncTextIteratorStreamer } from '../generate/streamer';
import { AutoModelForCausalLM, AutoTokenizer } from '../models/auto';
import type { CausalLM } from '../models/causal_lm';
import { baseOf, type PeftModel } from '../peft/model';
import type { Message, Tokenizer } from '../tokenizers/tokenizer';

interface Own {
  /** false: only what the model wrote, for conversations the answer alone as text. Default: true. */
  return_full_text: boolean;
  /** Token ids in place of texts. Default: false. */
  return_tensors: boolean;
  /** Default: true. */
  skip_special_tokens: boolean;
  /** Of texts; a conversation has what its template writes. Default: true. */
  add_special_tokens: boolean;
  /** Put before each text. Default: ''. */
  prefix: string;
  /** Whether the last message is continued; null: where it is the assistant's. Default: null. */
  continue_final_message: boolean | null;
  /** Functions that the model may call, as its template shows them. Default: null. */
  tools: object[] | null;
  /** stop_strings under the pipeline's name. Default: null. */
  stop_sequence: string | string[] | null;
  /** Inputs that are written together. Default: 8. */
  batch_size: number;
}
const OWN: Own = {
  ...{ return_full_text: true, return_tensors: false, skip_special_tokens: true, add_special_tokens: true, prefix: '' },
  ...{ continue_final_message: null, tools: null, stop_sequence: null, batch_size: 8 },
};

/** Options of a pipeline's call: its own, and all of generate's. */
export type PipelineOptions = Partial<Own> & Partial<GenerateOptions>;

/** What is asked: a text, or a conversation. */
type Input = string | Message[];
type Written<T, O> = O extends { return_tensors: true }
  ? { generated_token_ids: number[] }
  : { generated_text: O extends { return_full_text: false } ? string : T };

export interface TextGenerationPipeline {
  /** Continues a text. */
  <O extends PipelineOptions>(text: string, options?: O): Promise<Written<string, O>[]>;
  /** Answers a conversation; the last of the returned messages is the answer. */
  <O extends PipelineOptions>(messages: Message[], options?: O): Promise<Written<Message[], O>[]>;
  /** Several of either, written together: a list for each. */
  <O extends PipelineOptions>(texts: string[], options?: O): Promise<Written<string, O>[][]>;
  <O extends PipelineOptions>(conversations: Message[][], options?: O): Promise<Written<Message[], O>[][]>;
  /** What it writes, piece by piece as soon as it is certain: `for await (const text of ask.stream('...'))`. Leaving the loop ends the answer. */
  stream(input: Input, options?: PipelineOptions): AsyncGenerator<string, void, void>;
  model: CausalLM | PeftModel<CausalLM>;
  tokenizer: Tokenizer;
}

/** transformers' pipeline writes 256 tokens where neither the call nor the model says how many. */
function lengthOf({ generation_config: model }: CausalLM, call: PipelineOptions): { max_new_tokens?: number } {
  const said = [call, call.generation_config ?? {}, model] as Record<string, unknown>[];
  return said.some(({ max_new_tokens, max_length }) => max_new_tokens ?? max_length) ? {} : { max_new_tokens: 256 };
}

type Made = { generated_text: string | Message[] } | { generated_token_ids: number[] };

/** In a notebook: the text as it stands, a conversation as a table. */
function resultShown<R extends Made[] | Made[][]>(results: R): R {
  const html = (made: Made) => {
    const what = 'generated_text' in made ? made.generated_text : made.generated_token_ids.join(' ');
    return typeof what === 'string'
      ? `<div style="white-space:pre-wrap">${escapeHtml(what)}</div>`
      : tableHtml(what.map(({ role, content }) => ({ role, content })));
  };
  return shownAs(results, () => results.flat().map(html).join('<hr>'));
}

/** What is given, as a list of texts and conversations. */
function inputsOf(given: unknown): { inputs: Input[]; single: boolean } {
  const isMessage = (one: unknown) => typeof one === 'object' && one !== null && 'role' in one;
  const single = typeof given === 'string' || (Array.isArray(given) && isMessage(given[0]));
  const inputs = single ? [given] : given;
  const fits = (one: unknown) => typeof one === 'string' || (Array.isArray(one) && one.length > 0 && one.every(isMessage));
  if (!Array.isArray(inputs) || !inputs.every(fits))
    throw new OptionError(
      `A pipeline takes a text, a conversation ([{ role, content }, ...]), or a list of either, but got ${show(given)}.`,
    );
  return { inputs, single };
}

const continues = (input: Message[], { continue_final_message: wanted }: Own) => wanted ?? input.at(-1)?.role === 'assistant';

class TextGeneration {
  constructor(
    private readonly model: CausalLM,
    private readonly tokenizer: Tokenizer,
  ) {}

  /** A call's own options, and those that generate takes. */
  private read(options: PipelineOptions): { own: Own; rest: Partial<GenerateOptions> } {
    const given = Object.entries(options);
    const own = readOptions<Own>('pipeline', Object.fromEntries(given.filter(([name]) => Object.hasOwn(OWN, name))), OWN);
    checkNumber('pipeline', 'batch_size', own.batch_size, { integer: true, min: 1 }, 'It is how many inputs are written together.');
    const rest: Partial<GenerateOptions> = Object.fromEntries(given.filter(([name]) => !Object.hasOwn(OWN, name)));
    const stops = own.stop_sequence === null ? {} : { stop_strings: own.stop_sequence };
    return { own, rest: { ...lengthOf(this.model, options), ...stops, tokenizer: this.tokenizer, ...rest } };
  }

  private ids(input: Input, own: Own): number[] {
    const { add_special_tokens, tools } = own;
    if (typeof input === 'string') return this.tokenizer.encode(own.prefix + input, { add_special_tokens });
    const goesOn = continues(input, own);
    const which = goesOn ? { continue_final_message: true } : { add_generation_prompt: true };
    return this.tokenizer.apply_chat_template(input, { ...which, ...(tools && { tools }) });
  }

  /** One answer as transformers gives it. */
  private made(input: Input, ids: number[], made: number[], own: Own): Made {
    if (own.return_tensors) return { generated_token_ids: [...ids, ...made] };
    const text = this.tokenizer.decode(made, { skip_special_tokens: own.skip_special_tokens });
    if (!own.return_full_text) return { generated_text: text };
    if (typeof input === 'string') return { generated_text: input + text };
    const last = input[input.length - 1];
    return {
      generated_text: continues(input, own)
        ? [...input.slice(0, -1), { ...last, content: last.content + text }]
        : [...input, { role: 'assistant', content: text }],
    };
  }

  async run(given: unknown, options: PipelineOptions = {}): Promise<Made[] | Made[][]> {
    const { inputs, single } = inputsOf(given);
    const { own, rest } = this.read(options);
    const results: Made[][] = [];
    for (let from = 0; from < inputs.length; from += own.batch_size) {
      const some = inputs.slice(from, from + own.batch_size);
      const rows = some.map((input) => this.ids(input, own));
      const names = rest.adapter_names && { adapter_names: rest.adapter_names.slice(from, from + own.batch_size) };
      const made = await this.model.generate(rows, { ...rest, ...names });
      const each = made.length / rows.length;
      for (const [i, input] of some.entries())
        results.push(made.slice(i * each, (i + 1) * each).map((ids) => this.made(input, rows[i], ids, own)));
    }
    return resultShown(single ? results[0] : results);
  }

  async *stream(input: Input, options: PipelineOptions = {}): AsyncGenerator<string, void, void> {
    const streamer = new AsyncTextIteratorStreamer(this.tokenizer);
    const { own, rest } = this.read(options);
    let left = false;
    const should_continue = () => !left && rest.should_continue?.() !== false;
    const written = this.model.generate(this.ids(input, own), { ...rest, num_return_sequences: undefined, streamer, should_continue });
    written.catch(() => {}); // it is awaited below, perhaps late
    try {
      yield* streamer;
    } finally {
      left = true;
      await written;
    }
  }
}

/** `await pipeline('text-generation', model or name, { tokenizer })`, called as in transformers. */
export async function pipeline(
  task: 'text-generation',
  model: string | CausalLM | PeftModel<CausalLM>,
  { tokenizer }: { tokenizer?: Tokenizer } = {},
): Promise<TextGenerationPipeline> {
  if (task !== 'text-generation') {
    const guess = nearest(String(task), ['text-generation']);
    throw new OptionError(
      `There is no pipeline ${show(task)}.${guess ? ` Did you mean '${guess}'?` : " 'text-generation' is the one there is so far."}`,
    );
  }
  const loaded = typeof model === 'string' ? await AutoModelForCausalLM.from_pretrained(model) : model;
  const base = baseOf(loaded);
  const tok = tokenizer ?? (await AutoTokenizer.from_pretrained(base.config._name_or_path));
  const does = new TextGeneration(base, tok);
  const run = (given: unknown, options?: PipelineOptions) => does.run(given, options);
  const stream = (input: Input, options?: PipelineOptions) => does.stream(input, options);
  const made = Object.assign(run as unknown as TextGenerationPipeline, { model: loaded, tokenizer: tok, stream });
  const shown = { task, model: base.config._name_or_path, adapters: loaded === base ? [] : (loaded as PeftModel).active_adapters };
  const text = optionsShown('TextGenerationPipeline', shown);
  return shownAs(
    made,
    () => text['text/html'],
    () => text['text/plain'],
  );
}
