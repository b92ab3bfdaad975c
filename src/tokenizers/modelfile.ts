import type { Tokenizer } from './tokenizer';

/** Settings of generation, by their names in generation_config.json. */
type Sampling = Readonly<Record<string, unknown>>;

/** Texts that no template has of itself. */
const [SYSTEM, USER, ANSWER, AGAIN] = ['\u0001SYSTEM\u0001', '\u0001USER\u0001', '\u0001ANSWER\u0001', '\u0001AGAIN\u0001'];
const quoted = (text: string): string => (/^[\x20-\x7e]*$/.test(text) && !text.includes('"') ? `"${text}"` : `"""${text}"""`);

/** What stands before and behind a text, where it is there once. */
function around(rendered: string, text: string): [before: string, after: string] | undefined {
  const parts = rendered.split(text);
  return parts.length === 2 ? [parts[0], parts[1]] : undefined;
}

/**
 * Ollama's template for what the model's own makes of a system message, a question and an answer, found by rendering such; undefined where
 * it does anything else with them.
 */
export function ollamaTemplate(tokenizer: Tokenizer): string | undefined {
  const render = (messages: { role: string; content: string }[], prompt = false) =>
    tokenizer.apply_chat_template(messages, { tokenize: false, add_generation_prompt: prompt });
  const [user, system, answer] = [
    { role: 'user', content: USER },
    { role: 'system', content: SYSTEM },
    { role: 'assistant', content: ANSWER },
  ];
  try {
    const bos = tokenizer.add_bos_token ? (tokenizer.bos_token ?? '') : '';
    const bare = (text: string) => (bos && text.startsWith(bos) ? text.slice(bos.length) : text);
    // With a second question: what ends a conversation may be more than what ends an answer.
    const whole = bare(render([system, user, answer, { role: 'user', content: AGAIN }], true));
    const [before, rest] = around(whole, SYSTEM) ?? [];
    const [between, behind] = around(rest ?? '', USER) ?? [];
    const [, next] = around(behind ?? '', ANSWER) ?? [];
    const [after] = around(next ?? '', AGAIN) ?? [];
    const prompt = around(bare(render([system, user], true)), USER)?.[1];
    const question = around(bare(render([user], true)), USER);
    if (before === undefined || between === undefined || after === undefined || prompt === undefined || !question) return undefined;
    // Where the question begins the same with and without a system message, that ends before it.
    const [opening] = question;
    if (question[1] !== prompt || !between.endsWith(opening) || !after.endsWith(opening) || /\{\{|\}\}/.test(whole)) return undefined;
    const [closing, end] = [between, after].map((text) => text.slice(0, text.length - opening.length));
    return `{{ if .System }}${before}{{ .System }}${closing}{{ end }}{{ if .Prompt }}${opening}{{ .Prompt }}${prompt}{{ end }}{{ .Response }}${end}`;
  } catch {
    return undefined; // it asks for other messages than these
  }
}

/** A Modelfile by which `ollama create NAME` takes a GGUF file, or an adapter on a model. `from` names them. */
export function modelfile(from: string, tokenizer: Tokenizer | undefined, sampling?: Sampling, adapter?: string): string {
  const lines = [`FROM ${from}`, ...(adapter ? [`ADAPTER ${adapter}`] : [])];
  const template = tokenizer?.chat_template === undefined ? undefined : ollamaTemplate(tokenizer);
  if (template !== undefined) lines.push(`TEMPLATE """${template}"""`);
  const ends = [sampling?.eos_token_id ?? tokenizer?.eos_token_id ?? []].flat() as number[];
  for (const id of ends) {
    const stop = tokenizer?.convert_ids_to_tokens(id);
    if (typeof stop === 'string') lines.push(`PARAMETER stop ${quoted(stop)}`);
  }
  if (sampling?.do_sample) {
    const { temperature, top_k, top_p, min_p } = sampling;
    for (const [name, value] of Object.entries({ temperature, top_k, top_p, min_p }))
      if (typeof value === 'number') lines.push(`PARAMETER ${name} ${value}`);
  } else if (sampling) lines.push('PARAMETER temperature 0');
  const penalty = sampling?.repetition_penalty;
  if (typeof penalty === 'number' && penalty !== 1) lines.push(`PARAMETER repeat_penalty ${penalty}`);
  return `${lines.join('\n')}\n`;
}
