import { describe, expect, it } from 'vitest';
import { parserOf, ToolCalls } from '../../src/serve/tool_calls';

type Call = [name: string, args: unknown];
/** Answers of families of models, with what they say and call. */
const ANSWERS: [parser: string, answer: string, text: string, calls: Call[]][] = [
  ['hermes', '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', '', [['f', { a: 1 }]]],
  [
    'hermes',
    'Let me see.<tool_call>{"name": "f", "arguments": {"a": "}"}}</tool_call>\n<tool_call>{"name": "g", "arguments": {}}</tool_call>',
    'Let me see.',
    [
      ['f', { a: '}' }],
      ['g', {}],
    ],
  ],
  ['hermes', 'a < b and <tool', 'a < b and <tool', []],
  ['hermes', '<tool_call>not JSON</tool_call>', '<tool_call>not JSON</tool_call>', []],
  ['hermes', '<tool_call>{"name": "f", "argum', '<tool_call>{"name": "f", "argum', []],
  ['hermes', '<tool_call>{"a": 1}</tool_call>', '<tool_call>{"a": 1}</tool_call>', []],
  [
    'mistral',
    '[TOOL_CALLS][{"name": "f", "arguments": {"a": [1, 2]}}, {"name": "g", "arguments": {}}]',
    '',
    [
      ['f', { a: [1, 2] }],
      ['g', {}],
    ],
  ],
  ['mistral', '[TOOL_CALLS]f[ARGS]{"a": 1}', '', [['f', { a: 1 }]]],
  ['mistral', '[TOOL_CALLS]f{"a": 1}', '', [['f', { a: 1 }]]],
  ['llama3_json', '{"name": "f", "parameters": {"a": "\\"{"}}', '', [['f', { a: '"{' }]]],
  [
    'llama3_json',
    '<|python_tag|>{"name": "f", "parameters": {}}; {"name": "g", "parameters": {"b": null}}',
    '',
    [
      ['f', {}],
      ['g', { b: null }],
    ],
  ],
  ['llama3_json', 'The set is {"name"}.', 'The set is {"name"}.', []],
  ['llama3_json', '{"name": 1}', '{"name": 1}', []],
  ['granite', '<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]', '', [['f', { a: 1 }]]],
  ['granite', '<|tool_call|>[{"name": "f", "arguments": {}}]<|/tool_call|>', '', [['f', {}]]],
];

function read(parser: string, pieces: string[]): [string, Call[]] {
  const reader = new ToolCalls(parser);
  const found: Call[] = [];
  let text = '';
  for (const piece of pieces) {
    const { text: more, calls } = reader.put(piece);
    text += more;
    for (const { function: f, id } of calls) {
      expect(id).toMatch(/^call_\w{32}$/);
      found.push([f.name, JSON.parse(f.arguments)]);
    }
  }
  return [text + reader.end(), found];
}

describe('calls of tools are taken out of answers', () => {
  it.each(ANSWERS)('%s: %s', (parser, answer, text, calls) => {
    expect(read(parser, [answer])).toEqual([text, calls]);
    expect(read(parser, [...answer])).toEqual([text, calls]);
    for (let at = 1; at < answer.length; at++) expect(read(parser, [answer.slice(0, at), answer.slice(at)])).toEqual([text, calls]);
  });
});

it.each([
  ['hermes', "{{ '<tool_call>' }}"],
  ['mistral', "{{ '[TOOL_CALLS]' }}"],
  ['granite', "{{ '<|tool_call|>' }}"],
  ['llama3_json', "{% if tools %}{{ '<|python_tag|>' }}{% endif %}"],
  [undefined, "{{ messages[0]['content'] }}"],
])('the template tells how: %s', (parser, template) => expect(parserOf(template)).toBe(parser));
