import type { Tokenizer } from '../../tokenizers/tokenizer';
import type { State } from './expression';

/** Places of a tree of byte strings: child, sibling, byte, and the tokens that end there. */
interface Tree {
  child: Int32Array;
  sibling: Int32Array;
  byte: Uint8Array;
  tokens: (number[] | undefined)[];
}

/** Bytes that remembered tokens of states may come to, and about what a state itself has. */
const REMEMBERED = 64 << 20;
const STATE = 4096;

/** The tokens of a tokenizer as bytes, in a tree, to be found by what may come next. */
export class Vocabulary {
  private readonly tree: Tree;
  private readonly bytes: (Uint8Array | undefined)[];
  /** Of states, those that were asked for last at the end. */
  private readonly allowed = new Map<State, Int32Array>();
  private remembered = 0;

  private constructor(
    tokenizer: Tokenizer,
    private readonly room: number,
  ) {
    this.bytes = Array.from({ length: tokenizer.length }, (_, id) => (tokenizer.isSpecial(id) ? undefined : tokenizer.bytesOf(id)));
    this.tree = treeOf(this.bytes);
  }

  private static readonly all = new WeakMap<Tokenizer, Vocabulary>();

  /** There is one of a tokenizer; `room`: bytes that what it remembers may come to. */
  static of(tokenizer: Tokenizer, room = REMEMBERED): Vocabulary {
    const known = Vocabulary.all.get(tokenizer) ?? new Vocabulary(tokenizer, room);
    Vocabulary.all.set(tokenizer, known);
    return known;
  }

  /** The tokens that may come in a state, in no order. */
  in(state: State): Int32Array {
    const known = this.allowed.get(state);
    const found = known ?? Int32Array.from(this.find(state));
    if (known) this.allowed.delete(state);
    else this.remembered += found.byteLength + STATE;
    this.allowed.set(state, found);
    for (const [oldest, { byteLength }] of this.allowed) {
      if (this.remembered <= this.room) break;
      this.allowed.delete(oldest);
      this.remembered -= byteLength + STATE;
    }
    return found;
  }

  /** Bytes of what is remembered. */
  get bytesKept(): number {
    return this.remembered;
  }

  /** The state behind a token; undefined where it cannot come. */
  after(state: State, token: number): State | undefined {
    const bytes = this.bytes[token];
    let at: State | undefined = bytes?.length ? state : undefined;
    for (const byte of bytes ?? []) at = at?.after(byte);
    return at;
  }

  private find(start: State): number[] {
    const { child, sibling, byte, tokens } = this.tree;
    const found: number[] = [];
    const open: [place: number, state: State][] = [[0, start]];
    for (let top = open.pop(); top; top = open.pop()) {
      const [place, state] = top;
      for (let at = child[place]; at; at = sibling[at]) {
        const next = state.after(byte[at]);
        if (!next) continue;
        const own = tokens[at];
        if (own) found.push(...own);
        if (child[at]) open.push([at, next]);
      }
    }
    return found;
  }
}

function treeOf(all: readonly (Uint8Array | undefined)[]): Tree {
  const most = 1 + all.reduce((sum, bytes) => sum + (bytes?.length ?? 0), 0);
  const tree: Tree = { child: new Int32Array(most), sibling: new Int32Array(most), byte: new Uint8Array(most), tokens: [] };
  const { child, sibling, byte, tokens } = tree;
  let size = 1;
  for (const [id, bytes] of all.entries()) {
    if (!bytes?.length) continue;
    let place = 0;
    for (const b of bytes) {
      let at = child[place];
      while (at && byte[at] !== b) at = sibling[at];
      if (!at) {
        at = size++;
        byte[at] = b;
        sibling[at] = child[place];
        child[place] = at;
      }
      place = at;
    }
    tokens[place] = [...(tokens[place] ?? []), id];
  }
  return tree;
}
