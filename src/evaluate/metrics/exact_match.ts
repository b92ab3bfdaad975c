import { OptionError } from '../../core/errors';
import { show } from '../../core/options';
import { type Column, metric } from './metric';

const PUNCTUATION = /[!-/:-@[-`{-~]/g;

function ignoring(patterns: unknown): RegExp[] {
  if (patterns === null) return [];
  if (!Array.isArray(patterns)) throw new OptionError(`regexes_to_ignore must be a list of regular expressions, but is ${show(patterns)}.`);
  return patterns.map((pattern) => {
    try {
      return new RegExp(pattern instanceof RegExp ? pattern.source : String(pattern), 'gu');
    } catch (error) {
      throw new OptionError(`regexes_to_ignore: ${show(String(pattern))} is no regular expression: ${(error as Error).message}`);
    }
  });
}

/** The share of rows whose text is the reference's, letter by letter, apart from what is to be ignored. Options as in Python's `evaluate`. */
export const exact_match = metric({
  description: 'The share of rows whose text is the reference, letter by letter.',
  inputs: ['predictions', 'references'],
  options: {
    regexes_to_ignore: null as (string | RegExp)[] | null,
    ignore_case: false,
    ignore_punctuation: false,
    ignore_numbers: false,
  },
  compute({ predictions, references }, options) {
    const patterns = ignoring(options.regexes_to_ignore);
    const plain = (column: Column) =>
      column.map((value) => {
        let text = patterns.reduce((rest, pattern) => rest.replace(pattern, ''), String(value));
        if (options.ignore_case) text = text.toLowerCase();
        if (options.ignore_punctuation) text = text.replace(PUNCTUATION, '');
        return options.ignore_numbers ? text.replace(/[0-9]/g, '') : text;
      });
    const [said, meant] = [plain(predictions), plain(references)];
    return { exact_match: said.filter((text, i) => text === meant[i]).length / said.length };
  },
});
