import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { concatenate_datasets } from './combine';
import type { Dataset } from './dataset';
import type { IterableDataset } from './iterable_dataset';

/** A border of a slice: a number of rows or a share of them, from the end where it is negative. */
function borderOf(text: string | undefined, rows: number, otherwise: number): number {
  if (!text) return otherwise;
  const share = text.endsWith('%');
  const value = Number(share ? text.slice(0, -1) : text);
  const at = share ? Math.round((value / 100) * rows) : value;
  return Math.max(0, Math.min(rows, at < 0 ? rows + at : at));
}

/** 'train', 'train[:100]', 'train[10%:20%]', 'train+test': as Hugging Face's datasets takes them. */
export function takeSplit(name: string, splits: Record<string, Dataset>, wanted: string): Dataset {
  if (typeof wanted !== 'string')
    throw new OptionError(`load_dataset: split is ${show(wanted)}; it is a text like 'train' or 'train[:10%]'.`);
  const parts = wanted.split('+').map((part) => {
    const [, split = part.trim(), , from, to] = part.trim().match(/^([^[\]]+?)(\[(-?\d+%?)?:(-?\d+%?)?\])?$/) ?? [];
    if (!Object.hasOwn(splits, split))
      throw new OptionError(`${name} has no split ${show(split)}; it has ${Object.keys(splits).join(', ')}.`);
    const set = splits[split];
    if (from === undefined && to === undefined) return set;
    const [first, last] = [borderOf(from, set.length, 0), borderOf(to, set.length, set.length)];
    return set.select(Array.from({ length: Math.max(0, last - first) }, (_, i) => first + i));
  });
  return parts.length === 1 ? parts[0] : concatenate_datasets(parts);
}

/** 'train' or 'train+test' of streams; what a part would be is not known before all rows are read. */
export function streamedSplit(name: string, splits: Record<string, IterableDataset>, wanted: string): IterableDataset {
  const parts = String(wanted)
    .split('+')
    .map((part) => part.trim());
  for (const part of parts) {
    if (part.includes('['))
      throw new OptionError(
        `load_dataset: split = ${show(wanted)} takes a part of a stream, whose number of rows is not known. Take rows of the whole: split: ${show(part.split('[')[0])}, then dataset.take(1000) or dataset.skip(1000).`,
      );
    if (!Object.hasOwn(splits, part))
      throw new OptionError(`${name} has no split ${show(part)}; it has ${Object.keys(splits).join(', ')}.`);
  }
  return parts.length === 1 ? splits[parts[0]] : concatenate_datasets(parts.map((part) => splits[part]));
}
