import { expect, it } from 'vitest';
import { Template } from '../../src/tokenizers/jinja/template';
import { peer } from '../peer';
import { EXPRESSIONS, TEMPLATES, VARIABLES } from '../tokenizers/expressions';

function ours(template: string): string | { error: true } {
  try {
    return new Template(template).render(VARIABLES).text;
  } catch {
    return { error: true };
  }
}

it("expressions and templates give what Python's jinja2 gives", () => {
  const cases = [...EXPRESSIONS.map((expression) => `{{ ${expression} }}`), ...TEMPLATES];
  const theirs = peer<(string | { error: string })[]>('templates', {
    cases: cases.map((template) => ({ template, variables: VARIABLES })),
  });
  const wrong = cases.flatMap((template, i) => {
    const [mine, right] = [ours(template), theirs[i]];
    const same = typeof right === 'string' ? mine === right : typeof mine !== 'string';
    return same ? [] : [{ template, mine, right }];
  });
  expect(wrong).toEqual([]);
});
