import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { PREVIEW_SCHEMA, type PreviewData, parsePreview, previewPayload } from '../../views/src';
import { hostile } from './hostile';

const viaJson = (value: unknown) => JSON.parse(JSON.stringify(value));
const preview = (): PreviewData => ({
  name: 'rows.jsonl',
  createdAt: '2026-11-26T08:00:00.000Z',
  findings: [
    { kind: 'bad', text: '3 rows of 8 are cut.' },
    { kind: 'good', text: 'Every answer ends.' },
  ],
  figures: [['rows', '8']],
  rows: [
    {
      title: 'Row 0',
      tokens: 4,
      learned: 1,
      runs: [
        { text: '<b>Q</b>', learned: false },
        { text: 'A', learned: true },
      ],
    },
  ],
  lengths: [{ from: 0, to: 7, rows: 8, answers: 8 }],
});

it('a preview survives its payload, and others are refused with what is wrong', () => {
  const payload = viaJson(previewPayload(preview()));
  expect(parsePreview(payload)).toEqual(preview());
  expect(parsePreview({ ...payload, schemaVersion: 3 })).toMatch(/newer tunebook \(schema 3\)/);
  expect(parsePreview({ ...payload, findings: [{ kind: 'worse', text: '' }] })).toMatch(/findings\[0\]\.kind is none of/);
  expect(parsePreview({ ...payload, figures: [['rows']] })).toMatch(/a figure has no value/);
});

it('20,000 hostile payloads are refused with a sentence or taken, as the schema says', async () => {
  const { default: Ajv } = await import('ajv/dist/2020');
  const validate = new Ajv({ allowUnionTypes: true }).compile(PREVIEW_SCHEMA);
  const random = Random.seeded(9);
  const one = viaJson(previewPayload(preview()));
  let taken = 0;
  for (let i = 0; i < 20_000; i++) {
    const payload = hostile(random, viaJson(one));
    const result = parsePreview(payload);
    if (i < 2000 && !validate(payload)) expect(typeof result).toBe('string');
    if (typeof result !== 'string') taken++;
  }
  expect(taken).toBeGreaterThan(500);
});
