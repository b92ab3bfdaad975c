import { nearest, OptionError } from '../core/errors';
import { escapeHtml, tableHtml } from '../core/html';
import { show } from '../core/options';
import { optionsShown, shownAs } from '../core/shown';
import type { GenerateOptions } from '../generate/generate';
import type { TextStreamer } from '../generate/streamer';
import { AutoModelForCausalLM, AutoTokenizer } from '../models/auto';
import type { CausalLM } from '../models/causal_lm';
import { baseOf, type PeftModel } from '../peft/model';
import type { Message, Tokenizer } from '../tokenizers/tokenizer';

export interface PipelineOptions extends Partial<GenerateOptions> {
  /** false: only what the model wrote. For conversations transformers returns all messages. */
  return_full_text?: boolean;
  streamer?: TextStreamer;
}

export interface TextGenerationPipeline {
  /** Continues a text. */
  (text: string, options?: PipelineOptions): Promise<{ generated_text: string }[]>;
  /** Answers a conversation; the last of the returned messages is the answer. */
  (messages: Message[], options?: PipelineOptions): Promise<{ generated_text: Message[] }[]>;
  model: CausalLM | PeftModel<CausalLM>;
  tokenizer: Tokenizer;
}

/** transformers' pipeline writes 256 tokens where neither the call nor the model says how many. */
function lengthOf({ generation_config: model }: CausalLM, call: PipelineOptions): { max_new_tokens?: number } {
  const said = [call, call.generation_config ?? {}, model] as Record<string, unknown>[];
  return said.some(({ max_new_tokens, max_length }) => max_new_tokens ?? max_length) ? {} : { max_new_tokens: 256 };
}

/** In a notebook: the text as it stands, a conversation as a table. */
function resultShown<R extends { generated_text: string | Message[] }[]>(results: R): R {
  const html = ({ generated_text: made }: R[number]) =>
    typeof made === 'string'
      ? `<div style="white-space:pre-wrap">${escapeHtml(made)}</div>`
      : tableHtml(made.map(({ role, content }) => ({ role, content })));
  return shownAs(results, () => results.map(html).join('<hr>'));
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
  const run = async (input: string | Message[], { return_full_text: full = true, streamer, ...options }: PipelineOptions = {}) => {
    const ids = typeof input === 'string' ? tok.encode(input) : tok.apply_chat_template(input, { add_generation_prompt: true });
    const on_token = (token: number) => {
      streamer?.put(token);
      options.on_token?.(token);
    };
    const made = await base.generate(ids, { ...lengthOf(base, options), ...options, on_token });
    streamer?.end();
    const text = tok.decode(made, { skip_special_tokens: true });
    if (typeof input === 'string') return resultShown([{ generated_text: full ? input + text : text }]);
    const answer: Message = { role: 'assistant', content: text };
    return resultShown([{ generated_text: full ? [...input, answer] : [answer] }]);
  };
  const made = Object.assign(run as unknown as TextGenerationPipeline, { model: loaded, tokenizer: tok });
  const shown = { task, model: base.config._name_or_path, adapters: loaded === base ? [] : (loaded as PeftModel).active_adapters };
  const text = optionsShown('TextGenerationPipeline', shown);
  return shownAs(
    made,
    () => text['text/html'],
    () => text['text/plain'],
  );
}
