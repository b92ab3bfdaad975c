import type { Example } from './sft';

/** How rows are put together: TRL's packing_strategy. */
export const PACKING = ['bfd', 'bfd_split', 'wrapped'] as const;
export type Packing = (typeof PACKING)[number];

/** For each number from 1 to most whether it is there; finds the smallest that is no less than another. */
class Sizes {
  private readonly leaves: number;
  private readonly tree: Uint32Array;

  constructor(most: number) {
    this.leaves = 1 << Math.ceil(Math.log2(most + 1));
    this.tree = new Uint32Array(2 * this.leaves); // the largest below each node
  }
  set(size: number, there: boolean): void {
    let i = this.leaves + size;
    this.tree[i] = there ? size : 0;
    for (i >>= 1; i; i >>= 1) this.tree[i] = Math.max(this.tree[2 * i], this.tree[2 * i + 1]);
  }
  from(size: number): number | undefined {
    if (this.tree[1] < size) return undefined;
    let i = 1;
    while (i < this.leaves) i = this.tree[2 * i] >= size ? 2 * i : 2 * i + 1;
    return this.tree[i];
  }
}

const part = ({ input_ids, trained }: Example, from: number, to: number): Example => ({
  input_ids: input_ids.slice(from, to),
  trained: trained.slice(from, to),
});

/** Texts in one row, one behind another. They do not see one another. */
const joined = (texts: Example[]): Example => ({
  input_ids: texts.flatMap((text) => text.input_ids),
  trained: texts.flatMap((text) => text.trained),
  lengths: texts.map((text) => text.input_ids.length),
});

/** The longest text first, each into the row with the least room that it fits in; among such the one that came to so much room first. */
function bestFit(texts: Example[], most: number): Example[] {
  const rows: Example[][] = [];
  const withRoom: number[][] = Array.from({ length: most + 1 }, () => []);
  const rooms = new Sizes(most);
  for (const text of [...texts].sort((a, b) => b.input_ids.length - a.input_ids.length)) {
    const length = text.input_ids.length;
    const room = rooms.from(length);
    const row = room === undefined ? rows.push([]) - 1 : (withRoom[room].shift() as number);
    if (room !== undefined && !withRoom[room].length) rooms.set(room, false);
    rows[row].push(text);
    const left = (room ?? most) - length;
    withRoom[left].push(row);
    if (left) rooms.set(left, true);
  }
  return rows.map(joined);
}

/** All texts as one row without end, cut every so many tokens. */
function wrap(texts: Example[], most: number): Example[] {
  const rows: Example[][] = [];
  let room = 0;
  for (const text of texts)
    for (let from = 0; from < text.input_ids.length; ) {
      if (!room) {
        rows.push([]);
        room = most;
      }
      const to = Math.min(from + room, text.input_ids.length);
      rows.at(-1)?.push(part(text, from, to));
      room -= to - from;
      from = to;
    }
  return rows.map(joined);
}

/**
 * Rows packed into rows of at most `most` tokens, as TRL packs them: 'bfd' (best fit decreasing) cuts longer ones, 'bfd_split' goes on with
 * what is left as a text of its own, and 'wrapped' fills every row, cutting wherever it ends. The texts in a row do not see one another.
 */
export function pack(examples: Example[], most: number, strategy: Packing = 'bfd'): Example[] {
  const texts = examples.filter(({ input_ids }) => input_ids.length);
  if (strategy === 'wrapped') return wrap(texts, most);
  if (strategy === 'bfd')
    return bestFit(
      texts.map((text) => (text.input_ids.length > most ? part(text, 0, most) : text)),
      most,
    );
  const pieces = texts.flatMap((text) =>
    Array.from({ length: Math.ceil(text.input_ids.length / most) }, (_, i) => part(text, i * most, (i + 1) * most)),
  );
  return bestFit(pieces, most);
}
