import { OptionError } from '../../core/errors';
import { show } from '../../core/options';
import { type Points, without } from './characters';
import type { Expression, Language } from './expression';

const DIGITS: Points = [[48, 57]];
const WORDS: Points = [...DIGITS, [65, 90], [95, 95], [97, 122]];
const SPACES: Points = [
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const CLASSES: Record<string, Points> = { d: DIGITS, w: WORDS, s: SPACES, D: without(DIGITS), W: without(WORDS), S: without(SPACES) };
const LINE_ENDS: Points = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const CONTROLS: Record<string, number> = { n: 10, t: 9, r: 13, f: 12, v: 11, 0: 0 };
/** Copies of what stands before {n,m} that are thought of. */
const MOST = 10_000;

/** JavaScript's regular expressions, as far as they are regular: no looking around, no references back, anchors at the ends alone. */
class Parser {
  private at = 0;

  constructor(
    private readonly l: Language,
    private readonly source: string,
    private readonly character: (points: Points) => Expression,
  ) {}

  /** `whole`: the text is what is described; otherwise it has that somewhere, unless ^ and $ say more. */
  parse(whole: boolean): Expression {
    const parts: Expression[] = [];
    const anything = this.l.repeat(this.character(without([])), 0);
    do {
      const starts = this.take('^');
      const inner = this.sequence();
      const ends = this.take('$');
      parts.push(this.l.sequence([...(whole || starts ? [] : [anything]), inner, ...(whole || ends ? [] : [anything])]));
    } while (this.take('|'));
    if (this.at < this.source.length) this.fail(`nothing fits ${show(this.source[this.at])} here`);
    return this.l.either(parts);
  }

  private fail(why: string): never {
    throw new OptionError(`The pattern ${show(this.source)} cannot be written by: at ${this.at}, ${why}.`);
  }

  private take(text: string): boolean {
    if (!this.source.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  private choice(): Expression {
    const all = [this.sequence()];
    while (this.take('|')) all.push(this.sequence());
    return this.l.either(all);
  }

  private sequence(): Expression {
    const all: Expression[] = [];
    while (this.at < this.source.length && !/[|)$]/.test(this.source[this.at])) all.push(this.repeated());
    return this.l.sequence(all);
  }

  private repeated(): Expression {
    const what = this.atom();
    const times = /^(?:([*+?])|\{(\d+)(,(\d*))?\})\??/.exec(this.source.slice(this.at));
    if (!times) return what;
    this.at += times[0].length;
    const [, sign, low, comma, high] = times;
    if (sign) return sign === '?' ? this.l.optional(what) : this.l.repeat(what, sign === '+' ? 1 : 0);
    const min = Number(low);
    const max = comma ? (high ? Number(high) : Number.POSITIVE_INFINITY) : min;
    if (max < min || (Number.isFinite(max) ? max : min) > MOST) this.fail(`${times[0]} is no number of repetitions up to ${MOST}`);
    return this.l.repeat(what, min, max);
  }

  private atom(): Expression {
    const point = this.source.codePointAt(this.at) as number;
    const char = String.fromCodePoint(point);
    if (this.take('(')) {
      if (this.take('?') && !this.take(':') && !/^<[^=!]/.test(this.source.slice(this.at)))
        this.fail('looking ahead or behind is not regular');
      if (this.source[this.at] === '<') this.at = this.source.indexOf('>', this.at) + 1;
      const inner = this.choice();
      if (!this.take(')')) this.fail('a bracket is not closed');
      return inner;
    }
    if (this.take('[')) return this.character(this.set());
    if (this.take('.')) return this.character(without(LINE_ENDS));
    if (this.take('\\')) return this.character(this.escaped(false));
    if (/[*+?^]/.test(char)) this.fail(`${show(char)} has nothing before it, or stands in the middle`);
    this.at += char.length;
    return this.character([[point, point]]);
  }

  private escaped(inSet: boolean): Points {
    const char = this.source[this.at++];
    if (char === undefined) this.fail('a backslash stands last');
    if (CLASSES[char]) return CLASSES[char];
    const hex = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]+)\})/.exec(this.source.slice(this.at - 1));
    if (hex) {
      this.at += hex[0].length - 1;
      const point = Number.parseInt(hex[1] ?? hex[2] ?? hex[3], 16);
      return [[point, point]];
    }
    if (inSet && char === 'b') return [[8, 8]];
    if (/[1-9bBpPkc]/.test(char)) this.fail(`\\${char} is not regular, or not known here`);
    const point = CONTROLS[char] ?? (char.codePointAt(0) as number);
    return [[point, point]];
  }

  private set(): Points {
    const negated = this.take('^');
    const points: Points = [];
    const one = (): Points => {
      if (this.take('\\')) return this.escaped(true);
      const point = this.source.codePointAt(this.at);
      if (point === undefined) this.fail('a set is not closed');
      this.at += String.fromCodePoint(point as number).length;
      return [[point as number, point as number]];
    };
    while (!this.take(']')) {
      const from = one();
      if (this.source[this.at] !== '-' || this.source[this.at + 1] === ']') points.push(...from);
      else {
        this.at++;
        const to = one();
        if (from.length !== 1 || to.length !== 1 || to[0][1] < from[0][0]) this.fail('a range in a set has no order');
        points.push([from[0][0], to[0][1]]);
      }
    }
    return negated ? without(points) : points;
  }
}

/** A language of the texts that a regular expression matches; `character` writes one of some characters. */
export function regex(l: Language, source: string, character: (points: Points) => Expression, whole: boolean): Expression {
  return new Parser(l, source, character).parse(whole);
}
