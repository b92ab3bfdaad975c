/**
 * Languages of byte strings that can be asked, byte by byte, what may come next: regular expressions that may refer to one another, and so
 * may nest. A state is a set of expressions for what is left (Antimirov's partial derivatives, https://doi.org/10.1016/0304-3975(95)00182-4);
 * equal expressions are one object, so states are compared by name and what comes of them is remembered.
 */

/** From a byte to a byte. */
type Range = readonly [from: number, to: number];

export type Expression =
  | { readonly id: number; readonly kind: 'empty' }
  | { readonly id: number; readonly kind: 'bytes'; readonly ranges: readonly Range[] }
  | { readonly id: number; readonly kind: 'follow'; readonly first: Expression; readonly rest: Expression }
  | { readonly id: number; readonly kind: 'either'; readonly of: readonly Expression[] }
  | { readonly id: number; readonly kind: 'repeat'; readonly what: Expression; readonly min: number; readonly max: number }
  | { readonly id: number; readonly kind: 'lazy'; readonly make: () => Expression };
type Without<E> = E extends unknown ? Omit<E, 'id'> : never;

export class Language {
  private readonly known = new Map<string, Expression>();
  private count = 0;

  private one(key: string, made: Without<Expression>): Expression {
    const found = this.known.get(key);
    if (found) return found;
    const expression = { ...made, id: this.count++ } as Expression;
    this.known.set(key, expression);
    return expression;
  }

  readonly empty = this.one('', { kind: 'empty' });

  bytes(ranges: readonly Range[]): Expression {
    return this.one(`b${ranges.join(';')}`, { kind: 'bytes', ranges });
  }

  text(text: string): Expression {
    return this.sequence([...Buffer.from(text)].map((byte) => this.bytes([[byte, byte]])));
  }

  sequence(all: readonly Expression[]): Expression {
    return all.reduceRight((rest, first) => this.follow(first, rest), this.empty);
  }

  follow(first: Expression, rest: Expression): Expression {
    if (first.kind === 'empty') return rest;
    if (rest.kind === 'empty') return first;
    if (first.kind === 'follow') return this.follow(first.first, this.follow(first.rest, rest));
    return this.one(`t${first.id},${rest.id}`, { kind: 'follow', first, rest });
  }

  /** Of none: what nothing matches. */
  either(all: readonly Expression[]): Expression {
    const of = [...new Set(all.flatMap((one) => (one.kind === 'either' ? one.of : [one])))];
    return of.length === 1 ? of[0] : this.one(`e${of.map(({ id }) => id)}`, { kind: 'either', of });
  }

  repeat(what: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression {
    if (max <= 0 || what.kind === 'empty') return this.empty;
    if (min === 1 && max === 1) return what;
    return this.one(`r${what.id},${min},${max}`, { kind: 'repeat', what, min, max });
  }

  optional(what: Expression): Expression {
    return this.either([what, this.empty]);
  }

  /** What is made when it is first looked at; of those of one name there is one, so that expressions can contain themselves. */
  lazy(make: () => Expression, name?: string): Expression {
    let made: Expression | undefined;
    return this.one(name === undefined ? `u${this.count}` : `l${name}`, {
      kind: 'lazy',
      make: () => {
        made ??= make();
        return made;
      },
    });
  }

  private readonly ends = new Map<Expression, boolean>();

  /** Whether nothing need follow. */
  canEnd(e: Expression): boolean {
    const known = this.ends.get(e);
    if (known !== undefined) return known;
    this.ends.set(e, false); // one that begins with itself adds nothing
    const end = () => {
      switch (e.kind) {
        case 'empty':
          return true;
        case 'bytes':
          return false;
        case 'follow':
          return this.canEnd(e.first) && this.canEnd(e.rest);
        case 'either':
          return e.of.some((one) => this.canEnd(one));
        case 'repeat':
          return e.min === 0 || this.canEnd(e.what);
        case 'lazy':
          return this.canEnd(e.make());
      }
    };
    const result = end();
    this.ends.set(e, result);
    return result;
  }

  /** Adds what is left of an expression behind a byte. `within`: the lazy ones that this is inside of, without a byte in between. */
  private behind(e: Expression, byte: number, to: Set<Expression>, within: readonly Expression[] = []): void {
    switch (e.kind) {
      case 'empty':
        return;
      case 'bytes':
        if (e.ranges.some(([from, until]) => byte >= from && byte <= until)) to.add(this.empty);
        return;
      case 'follow': {
        const first = new Set<Expression>();
        this.behind(e.first, byte, first, within);
        for (const left of first) to.add(this.follow(left, e.rest));
        if (this.canEnd(e.first)) this.behind(e.rest, byte, to, within);
        return;
      }
      case 'either':
        for (const one of e.of) this.behind(one, byte, to, within);
        return;
      case 'repeat': {
        const first = new Set<Expression>();
        this.behind(e.what, byte, first, within);
        const rest = this.repeat(e.what, Math.max(0, e.min - 1), e.max - 1);
        for (const left of first) to.add(this.follow(left, rest));
        return;
      }
      case 'lazy':
        if (!within.includes(e)) this.behind(e.make(), byte, to, [...within, e]);
    }
  }

  private readonly states = new Map<string, State>();

  state(all: Iterable<Expression>): State {
    const left = [...new Set(all)].sort((a, b) => a.id - b.id);
    const name = left.map(({ id }) => id).join();
    let state = this.states.get(name);
    if (!state) {
      state = new State(this, left);
      this.states.set(name, state);
    }
    return state;
  }

  /** Of a state's expressions: the state behind a byte; undefined where it cannot come. */
  step(left: readonly Expression[], byte: number): State | undefined {
    const to = new Set<Expression>();
    for (const e of left) this.behind(e, byte, to);
    return to.size ? this.state(to) : undefined;
  }
}

/** Where a text has come to. */
export class State {
  private readonly next: (State | undefined | null)[] = Array(256).fill(null);
  /** Whether the text may end here. */
  readonly canEnd: boolean;

  constructor(
    private readonly language: Language,
    private readonly left: readonly Expression[],
  ) {
    this.canEnd = left.some((e) => language.canEnd(e));
  }

  after(byte: number): State | undefined {
    let next = this.next[byte];
    if (next === null) {
      next = this.language.step(this.left, byte);
      this.next[byte] = next;
    }
    return next;
  }
}
