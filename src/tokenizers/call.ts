import { OptionError } from '../core/errors';
import { checkNumber, readOptions, show } from '../core/options';
import type { Offset } from './offsets';

/** Options of Python's `tokenizer(...)`, under transformers' names. */
export interface CallOptions {
  /** Those that the tokenizer puts around every text. Default: true. */
  add_special_tokens: boolean;
  /** true or 'longest': rows as long as the longest; 'max_length': as long as max_length; false: as they are. Default: false. */
  padding: boolean | 'longest' | 'max_length' | 'do_not_pad';
  /** Whether longer rows are cut to max_length, on the tokenizer's truncation_side. Default: false. */
  truncation: boolean;
  /** null: the tokenizer's model_max_length. Default: null. */
  max_length: number | null;
  /** Rounds the length of padded rows up. Default: null. */
  pad_to_multiple_of: number | null;
  /** 'left' or 'right'; null: the tokenizer's own. Default: null. */
  padding_side: 'left' | 'right' | null;
  /** Default: true. */
  return_attention_mask: boolean;
  /** From where to where each token stands in the text. Default: false. */
  return_offsets_mapping: boolean;
  /** 1 for what the tokenizer or padding has put there. Default: false. */
  return_special_tokens_mask: boolean;
}
const DEFAULTS: CallOptions = {
  ...{ add_special_tokens: true, padding: false, truncation: false, max_length: null, pad_to_multiple_of: null, padding_side: null },
  ...{ return_attention_mask: true, return_offsets_mapping: false, return_special_tokens_mask: false },
};

/** What `call` makes of a text, or, of several, of each. */
export interface Encoded<T> {
  input_ids: T extends string ? number[] : number[][];
  /** 1 for a token of the text, 0 for padding. */
  attention_mask: T extends string ? number[] : number[][];
  offset_mapping?: T extends string ? Offset[] : Offset[][];
  special_tokens_mask?: T extends string ? number[] : number[][];
}

interface Row {
  ids: number[];
  mask: number[];
  special: number[];
  offsets: Offset[];
}

/** What is asked of a tokenizer. */
interface Callable {
  encode(text: string, options: { add_special_tokens: boolean }): number[];
  offsets(text: string, ids: number[]): Offset[];
  readonly padding_side: 'left' | 'right';
  readonly truncation_side: 'left' | 'right';
  readonly model_max_length: number;
  readonly pad_token_id: number | undefined;
}

/** The tokens before and behind every text. */
function around(tokenizer: Callable): [before: number[], behind: number[]] {
  const [all, own] = [true, false].map((add_special_tokens) => tokenizer.encode('a', { add_special_tokens }));
  const at = all.length - own.length;
  for (let from = 0; from <= at; from++)
    if (own.every((id, i) => all[from + i] === id)) return [all.slice(0, from), all.slice(from + own.length)];
  return [[], []];
}

function rowOf(tokenizer: Callable, text: string, [before, behind]: [number[], number[]], longest: number, offsets: boolean): Row {
  const all = tokenizer.encode(text, { add_special_tokens: false });
  const places = offsets ? tokenizer.offsets(text, all) : [];
  const over = Math.max(0, all.length + before.length + behind.length - longest);
  if (over > all.length)
    throw new OptionError(`max_length = ${longest} leaves no room: ${before.length + behind.length} tokens stand around every text.`);
  const keep = <T>(values: T[]) => (tokenizer.truncation_side === 'left' ? values.slice(over) : values.slice(0, values.length - over));
  const [ids, kept] = [keep(all), offsets ? keep(places) : []];
  const none = (some: number[]) => some.map((): Offset => [0, 0]);
  return {
    ids: [...before, ...ids, ...behind],
    mask: Array(before.length + ids.length + behind.length).fill(1),
    special: [...before.map(() => 1), ...ids.map(() => 0), ...behind.map(() => 1)],
    offsets: [...none(before), ...kept, ...none(behind)],
  };
}

/** Texts to rows of ids with what belongs to them, as transformers' `tokenizer(texts, ...)`. */
export function call<T extends string | string[]>(tokenizer: Callable, texts: T, given: Partial<CallOptions>): Encoded<T> {
  const options = readOptions('tokenizer', given, DEFAULTS);
  const { padding, truncation, max_length, pad_to_multiple_of: by, padding_side } = options;
  if (![true, false, 'longest', 'max_length', 'do_not_pad'].includes(padding))
    throw new OptionError(`tokenizer: padding is ${show(padding)}; it can be true, false, 'longest', 'max_length' or 'do_not_pad'.`);
  if (padding_side !== null && padding_side !== 'left' && padding_side !== 'right')
    throw new OptionError(`tokenizer: padding_side is ${show(padding_side)}; it can be 'left' or 'right'.`);
  for (const [name, value] of Object.entries({ max_length, pad_to_multiple_of: by }))
    if (value !== null) checkNumber('tokenizer', name, value, { integer: true, min: 1 }, 'It is a number of tokens.');
  const most = max_length ?? tokenizer.model_max_length;
  if (truncation && padding && by !== null && most < 1e20 && most % by)
    throw new OptionError(`tokenizer: max_length = ${most} is no multiple of pad_to_multiple_of = ${by}: cut rows would not be either.`);
  const specials: [number[], number[]] = options.add_special_tokens ? around(tokenizer) : [[], []];
  const several: string[] = typeof texts === 'string' ? [texts] : texts;
  if (!Array.isArray(several)) throw new OptionError(`tokenizer takes a text or a list of texts, but got ${show(texts)}.`);
  const rows = several.map((text) =>
    rowOf(tokenizer, text, specials, truncation ? most : Number.POSITIVE_INFINITY, options.return_offsets_mapping),
  );
  if (padding && padding !== 'do_not_pad') {
    const pad = tokenizer.pad_token_id;
    if (pad === undefined) throw new OptionError('Padding needs a pad_token, and none is set: tokenizer.pad_token = tokenizer.eos_token.');
    if (padding === 'max_length' && most > 1e20) throw new OptionError("padding = 'max_length' needs max_length: the tokenizer says none.");
    const length = padding === 'max_length' ? most : rows.reduce((longest, { ids }) => Math.max(longest, ids.length), 0);
    const target = by === null ? length : Math.ceil(length / by) * by;
    for (const row of rows) {
      const fill = <V>(values: V[], value: V) => {
        const more = Array<V>(Math.max(0, target - values.length)).fill(value);
        return (padding_side ?? tokenizer.padding_side) === 'left' ? [...more, ...values] : [...values, ...more];
      };
      Object.assign(row, {
        ids: fill(row.ids, pad),
        mask: fill(row.mask, 0),
        special: fill(row.special, 1),
        offsets: fill(row.offsets, [0, 0]),
      });
    }
  }
  const one = <V>(values: V[]) => (typeof texts === 'string' ? values[0] : values);
  return {
    input_ids: one(rows.map(({ ids }) => ids)),
    ...(options.return_attention_mask && { attention_mask: one(rows.map(({ mask }) => mask)) }),
    ...(options.return_offsets_mapping && { offset_mapping: one(rows.map(({ offsets }) => offsets)) }),
    ...(options.return_special_tokens_mask && { special_tokens_mask: one(rows.map(({ special }) => special)) }),
  } as Encoded<T>;
}
