import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ChatMessage, Tokenizer } from '../../src/tokenizers/tokenizer';
import { tinyTokenizer } from '../tiny';

/** A public chat format: its template and, said independently of it, what a model of it is to learn. */
export interface Format {
  template: string;
  specials: string[];
  /** Added tokens that are text. */
  texts?: string[];
  bos_token?: string;
  eos_token: string;
  /** Roles besides user and assistant. */
  system?: boolean;
  tools?: boolean;
  /** Variables of the template. */
  options?: object;
  /** The answer as the template writes it, with its end of turn. `last`: no question follows. */
  answer(content: string, last: boolean): string;
  call?(name: string, args: string): string;
}

export const published = (name: string): string => readFileSync(join(__dirname, 'templates', `${name}.jinja`), 'utf8');

/** Python's str.strip() of the texts used here. */
const trim = (text: string) => text.trim();

const alternate = (messages: string) =>
  `{%- for m in ${messages} %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('Roles must alternate.') }}{%- endif %}{%- endfor %}`;
const splitSystem =
  "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}";

const LLAMA2 = `${splitSystem}${alternate('rest')}{%- for m in rest %}
{%- if loop.index0 == 0 and system is defined %}{%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m.content %}{%- else %}{%- set content = m.content %}{%- endif %}
{%- if m.role == 'user' %}{{- bos_token + '[INST] ' + content | trim + ' [/INST]' }}
{%- elif m.role == 'assistant' %}{{- ' ' + content | trim + ' ' + eos_token }}{%- endif %}{%- endfor %}`;

const MISTRAL_V1 = `{{- bos_token }}${alternate('messages')}{%- for m in messages %}
{%- if m.role == 'user' %}{{- '[INST] ' + m.content + ' [/INST]' }}{%- elif m.role == 'assistant' %}{{- m.content + eos_token }}{%- endif %}{%- endfor %}`;

const MISTRAL_TOOLS = (space: string) => `{%- elif m.tool_calls is defined and m.tool_calls is not none %}
{{- '[TOOL_CALLS]${space}[' }}{%- for c in m.tool_calls %}{%- set out = c.function | tojson %}{{- out[:-1] }}
{%- if c.id | length != 9 %}{{- raise_exception('Tool call IDs must have 9 characters.') }}{%- endif %}
{{- ', "id": "' + c.id + '"}' + (', ' if not loop.last else ']' + eos_token) }}{%- endfor %}
{%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS]${space}{"content": ' + m.content | string + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}`;

/** System text and tools stand in the last question alone. */
const MISTRAL_V3 = `${splitSystem}{%- set asked = rest | selectattr('role', 'equalto', 'user') | list %}{{- bos_token }}{%- for m in rest %}
{%- if m.role == 'user' %}
{%- if tools is not none and m == asked[-1] %}{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}
{%- if loop.last and system is defined %}{{- '[INST] ' + system + '\\n\\n' + m.content + '[/INST]' }}{%- else %}{{- '[INST] ' + m.content + '[/INST]' }}{%- endif %}
${MISTRAL_TOOLS(' ')}
{%- elif m.role == 'assistant' %}{{- ' ' + m.content | trim + eos_token }}{%- endif %}{%- endfor %}`;

const MISTRAL_V7 = `${splitSystem}{{- bos_token }}{%- if system is defined %}{{- '[SYSTEM_PROMPT] ' + system + '[/SYSTEM_PROMPT]' }}{%- endif %}
{%- if tools %}{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}{%- for m in rest %}
{%- if m.role == 'user' %}{{- '[INST] ' + m.content + '[/INST]' }}
${MISTRAL_TOOLS(' ')}
{%- elif m.role == 'assistant' %}{{- ' ' + m.content + eos_token }}{%- endif %}{%- endfor %}`;

const ZEPHYR = `{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}`;

const ALPACA = `${splitSystem}{{- bos_token + (system if system is defined else 'Below is an instruction that describes a task. Write a response that completes the request.') + '\\n\\n' }}
{%- for m in rest %}{%- if m.role == 'user' %}{{- '### Instruction:\\n' + m.content + '\\n\\n' }}{%- else %}{{- '### Response:\\n' + m.content + eos_token + '\\n\\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '### Response:\\n' }}{%- endif %}`;

const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const chatml = ['<|im_start|>', '<|endoftext|>', '<|im_end|>'];
const mistral = [
  '<s>',
  '</s>',
  '[INST]',
  '[/INST]',
  '[TOOL_CALLS]',
  '[TOOL_RESULTS]',
  '[/TOOL_RESULTS]',
  '[AVAILABLE_TOOLS]',
  '[/AVAILABLE_TOOLS]',
  '[SYSTEM_PROMPT]',
  '[/SYSTEM_PROMPT]',
];
const sentence = { specials: ['<s>', '</s>'], bos_token: '<s>', eos_token: '</s>' };
const mistralCall = (name: string, args: string) => `[TOOL_CALLS] [{"name": "${name}", "arguments": ${args}, "id": "call00001"}]</s>`;
const qwenCall = (name: string, args: string) => `<tool_call>\n{"name": "${name}", "arguments": ${args}}\n</tool_call><|im_end|>`;
/** What Qwen 3 takes for the answer behind a thought. */
const qwenAnswer = (content: string) => (content.split('</think>').at(-1) as string).replace(/^\n+/, '');
const qwenThought = (content: string) =>
  content.includes('</think>')
    ? (content.split('</think>')[0].replace(/\n+$/, '').split('<think>').at(-1) as string).replace(/^\n+/, '')
    : '';
const qwen3 = {
  template: published('qwen3'),
  specials: chatml,
  eos_token: '<|im_end|>',
  system: true,
  tools: true,
  // Thoughts of earlier turns are dropped; the last turn has one, be it empty.
  answer: (content: string, last: boolean) =>
    `${last ? `<think>\n${qwenThought(content).replace(/^\n+|\n+$/g, '')}\n</think>\n\n` : ''}${content.includes('</think>') || last ? qwenAnswer(content) : content}<|im_end|>`,
  call: qwenCall,
};

export const FORMATS: Record<string, Format> = {
  ChatML: { template: CHATML, specials: chatml, eos_token: '<|im_end|>', system: true, answer: (content) => `${content}<|im_end|>` },
  // A base model's tokenizer: what ends a turn is not its end of text.
  'ChatML, other eos': {
    template: CHATML,
    specials: chatml,
    eos_token: '<|endoftext|>',
    system: true,
    answer: (content) => `${content}<|im_end|>`,
  },
  'Llama 2': { template: LLAMA2, ...sentence, system: true, answer: (content) => ` ${trim(content)} </s>` },
  'Llama 3': {
    template: published('llama3'),
    specials: ['<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'],
    bos_token: '<|begin_of_text|>',
    eos_token: '<|eot_id|>',
    system: true,
    answer: (content) => `${trim(content)}<|eot_id|>`,
  },
  'Mistral v1': { template: MISTRAL_V1, ...sentence, answer: (content) => `${content}</s>` },
  'Mistral v3': {
    template: MISTRAL_V3,
    ...sentence,
    specials: mistral,
    system: true,
    tools: true,
    answer: (content) => ` ${trim(content)}</s>`,
    call: mistralCall,
  },
  'Mistral v7': {
    template: MISTRAL_V7,
    ...sentence,
    specials: mistral,
    system: true,
    tools: true,
    answer: (content) => ` ${content}</s>`,
    call: mistralCall,
  },
  Gemma: {
    template: published('gemma'),
    specials: ['<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>'],
    texts: ['\n', '\n\n', '  '],
    bos_token: '<bos>',
    eos_token: '<eos>',
    answer: (content) => `${trim(content)}<end_of_turn>`,
  },
  'Phi 3': {
    template: published('phi3'),
    specials: ['<|system|>', '<|user|>', '<|assistant|>', '<|end|>', '<|endoftext|>'],
    eos_token: '<|endoftext|>',
    system: true,
    answer: (content) => `${content}<|end|>`,
  },
  'Qwen 2.5': {
    template: published('qwen2_5'),
    specials: chatml,
    eos_token: '<|im_end|>',
    system: true,
    tools: true,
    answer: (content) => `${content}<|im_end|>`,
    call: qwenCall,
  },
  'Qwen 3': qwen3,
  // The prompt holds an empty thought: what an answer has in common with it is no answer.
  'Qwen 3, not thinking': {
    ...qwen3,
    options: { enable_thinking: false },
    answer: (content: string, last: boolean) => {
      const [prompt, all] = ['<think>\n\n</think>\n\n', qwen3.answer(content, last)];
      if (!last) return all;
      return all.startsWith(prompt) ? all.slice(prompt.length) : all.slice('<think>\n'.length);
    },
  },
  Zephyr: { template: ZEPHYR, specials: ['<s>', '</s>'], eos_token: '</s>', system: true, answer: (content) => `${content}</s>` },
  Alpaca: { template: ALPACA, ...sentence, system: true, answer: (content) => `${content}</s>` },
};

export const tokenizerOf = ({ template, specials, texts, bos_token, eos_token }: Format): Tokenizer =>
  tinyTokenizer({ chat_template: template, bos_token, eos_token, pad_token: eos_token }, specials, texts);

export const TOOL = {
  type: 'function',
  function: {
    name: 'add',
    description: 'Adds <two> numbers',
    parameters: { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
  },
};

export const callOf = (name: string, args: object): ChatMessage => ({
  role: 'assistant',
  content: null,
  tool_calls: [{ type: 'function', id: 'call00001', function: { name, arguments: args } }],
});
export const resultOf = (content: string): ChatMessage => ({ role: 'tool', name: 'add', tool_call_id: 'call00001', content });
