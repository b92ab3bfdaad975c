import { expect, it } from 'vitest';
import { cellText, tableHtml } from '../../src/core/html';

it.each([
  [1234567, '1234567'],
  [1234567.8, '1234568'],
  [-98765.4321, '-98765'],
  [9999.87654, '9999.9'],
  [0.000123456, '0.00012346'],
  [-0.5, '-0.5'],
  [0, '0'],
  [1e21, '1e+21'],
  [Number.NaN, 'NaN'],
  [Number.POSITIVE_INFINITY, 'Infinity'],
  [null, ''],
  [undefined, ''],
  [true, 'true'],
  [{ a: 1 }, '{"a":1}'],
] as const)('%s stands in a table as %s', (value, text) => {
  expect(cellText(value)).toBe(text);
});

it('a table has the columns of all rows, and text as text', () => {
  expect(tableHtml([{ a: 123456.7 }, { b: '<b>' }]).replaceAll(/ style="[^"]*"/g, '')).toBe(
    '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>123457</td><td></td></tr><tr><td></td><td>&lt;b&gt;</td></tr></tbody></table>',
  );
});
