// Ollama's template beside the model's own: what Go's text/template makes of it is what the model's makes of the same conversation.
import { expect, it } from 'vitest';
import { modelfile, ollamaTemplate } from '../../src/tokenizers/modelfile';
import type { ChatMessage } from '../../src/tokenizers/tokenizer';
import { FORMATS, tokenizerOf } from '../data/formats';
import { tinyTokenizer } from '../tiny';

/** Go's templates as far as these have them: {{ if .X }}...{{ end }} and {{ .X }}. */
const filled = (template: string, values: Record<string, string>): string =>
  template
    .replace(/\{\{ if \.(\w+) \}\}([\s\S]*?)\{\{ end \}\}/g, (_, name, inside) => (values[name] ? inside : ''))
    .replace(/\{\{ \.(\w+) \}\}/g, (_, name) => values[name] ?? '');

const [system, user, answer] = ['Be brief.', 'What is it?', 'It is a test.'];
const told: string[] = [];

it.each(Object.keys(FORMATS))('%s', (name) => {
  const tokenizer = tokenizerOf(FORMATS[name]);
  const template = ollamaTemplate(tokenizer);
  if (template === undefined) return; // then the file has none, and Ollama takes the one in the GGUF file
  told.push(name);
  const bos = tokenizer.add_bos_token ? (tokenizer.bos_token ?? '') : '';
  const render = (messages: ChatMessage[], add_generation_prompt = false) => {
    const text = tokenizer.apply_chat_template(messages, { tokenize: false, add_generation_prompt });
    return bos && text.startsWith(bos) ? text.slice(bos.length) : text;
  };
  const [s, u, a] = [
    { role: 'system', content: system },
    { role: 'user', content: user },
    { role: 'assistant', content: answer },
  ];
  // Asked without an answer, Ollama cuts what stands behind the response.
  const asked = (values: Record<string, string>) => filled(template.split('{{ .Response }}')[0], values);
  expect(asked({ System: system, Prompt: user })).toBe(render([s, u], true));
  expect(asked({ Prompt: user })).toBe(render([u], true));
  // A second question comes behind the first with its answer; some formats put a system message into the last question alone.
  const first = filled(template, { Prompt: user, Response: answer });
  expect(first + asked({ Prompt: user })).toBe(render([u, a, u], true));
});

it('formats that it can say are said', () => expect(told.length).toBeGreaterThan(2));

it('a Modelfile names the file, the template, the ends and how to sample', () => {
  const tokenizer = tinyTokenizer();
  const lines = modelfile('./tiny.gguf', tokenizer, { do_sample: true, temperature: 0.6, top_k: 20, repetition_penalty: 1.1 }).split('\n');
  expect(lines[0]).toBe('FROM ./tiny.gguf');
  expect(lines).toContain('PARAMETER stop "<|im_end|>"');
  expect(lines).toContain('PARAMETER temperature 0.6');
  expect(lines).toContain('PARAMETER top_k 20');
  expect(lines).toContain('PARAMETER repeat_penalty 1.1');
  expect(modelfile('./base.gguf', tokenizer, undefined, './lora.gguf')).toMatch(/^FROM \.\/base\.gguf\nADAPTER \.\/lora\.gguf\n/);
  expect(modelfile('./tiny.gguf', tokenizer, {})).toContain('PARAMETER temperature 0\n');
});
