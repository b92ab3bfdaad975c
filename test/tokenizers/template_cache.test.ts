import { expect, it, vi } from 'vitest';
import { tinyTokenizer } from '../tiny';

const made = vi.hoisted(() => [] as string[]);
vi.mock('../../src/tokenizers/jinja/template', async (original) => {
  const actual = await original<typeof import('../../src/tokenizers/jinja/template')>();
  class Template extends actual.Template {
    constructor(source: string) {
      super(source);
      made.push(source);
    }
  }
  return { ...actual, Template };
});

it('of templates those that were used last are remembered, and no more than 64', () => {
  const tokenizer = tinyTokenizer();
  const render = (i: number) =>
    tokenizer.apply_chat_template([{ role: 'user', content: 'x' }], { chat_template: `{{ ${i} }}`, tokenize: false });
  for (const [from, to, compiled] of [
    [0, 64, 64],
    [0, 64, 64], // all are known
    [0, 1, 64],
    [64, 65, 65], // in the place of 1
    [0, 1, 65],
    [1, 2, 66],
  ]) {
    for (let i = from; i < to; i++) expect(render(i)).toBe(String(i));
    expect(made).toHaveLength(compiled);
  }
});
