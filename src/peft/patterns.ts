import { OptionError } from '../core/errors';
import { show } from '../core/options';

/** Escapes that mean the same here and in Python's `re`; \A and \Z are others in JavaScript. */
const SAME = 'bBdDsSwWnrtfv';

/**
 * Translates a regular expression of Python's `re` (3.11) for names, which have no line ends. What JavaScript cannot do, and what
 * Python refuses, is an OptionError that names it.
 */
class Translation {
  private at = 0;
  private flags = '';
  private out = '';

  constructor(
    private readonly source: string,
    private readonly owner: string,
  ) {}

  run(): { source: string; flags: string } {
    while (this.at < this.source.length) this.next();
    return { source: this.out, flags: this.flags };
  }

  private fail(what: string): never {
    throw new OptionError(`${this.owner}: the regular expression ${show(this.source)} ${what}`);
  }

  /** Takes what matches at this place, if it does. */
  private take(pattern: RegExp): RegExpExecArray | null {
    const sticky = new RegExp(pattern.source, 'y');
    sticky.lastIndex = this.at;
    const found = sticky.exec(this.source);
    if (found) this.at += found[0].length;
    return found;
  }

  private next(): void {
    const { source } = this;
    if (source[this.at] === '\\') this.out += this.escape(false);
    else if (source[this.at] === '[') this.out += this.set();
    else if (source.startsWith('(?', this.at)) this.out += this.extension();
    else this.out += this.quantifier() ?? source[this.at++];
  }

  private quantifier(): string | undefined {
    const found = this.take(/([*+?]|\{(\d*),(\d*)\}|\{\d+\})(\+?)/);
    if (!found) return undefined;
    const [all, what, from, to, possessive] = found;
    if (possessive) this.fail(`has the possessive quantifier ${all}, which JavaScript does not have. Write ${what}.`);
    return from === undefined ? what : `{${from || 0},${to}}`;
  }

  private escape(inSet: boolean): string {
    const [all, letter] = this.take(/\\([\s\S]?)/) as RegExpExecArray;
    if (!letter) this.fail('ends with a backslash.');
    if (letter === 'A' && !inSet) return '^';
    if (letter === 'Z' && !inSet) return '$';
    if (letter === 'a') return '\\x07';
    const digits = letter === 'x' ? 2 : letter === 'u' ? 4 : 0;
    if (digits) {
      const code = this.take(new RegExp(`[0-9a-fA-F]{${digits}}`)) ?? this.fail(`has ${all} without ${digits} digits behind it.`);
      return all + code[0];
    }
    if (/[A-Za-z]/.test(letter) && (!SAME.includes(letter) || (inSet && letter === 'B')))
      this.fail(`has the escape ${all}, which cannot be taken over from Python.`);
    return all;
  }

  private set(): string {
    // A bracket that comes first stands for itself.
    const [, open, bracket] = this.take(/(\[\^?)(\]?)/) as RegExpExecArray;
    let out = open + (bracket ? '\\]' : '');
    while (this.source[this.at] !== ']') {
      if (this.at >= this.source.length) this.fail('has a [ without its ].');
      out += this.source[this.at] === '\\' ? this.escape(true) : this.source[this.at++];
    }
    this.at++;
    return `${out}]`;
  }

  private extension(): string {
    const plain = this.take(/\(\?(?::|=|!|<=|<!)/);
    if (plain) return plain[0];
    const named = this.take(/\(\?P<([A-Za-z_]\w*)>/);
    if (named) return `(?<${named[1]}>`;
    const again = this.take(/\(\?P=([A-Za-z_]\w*)\)/);
    if (again) return `\\k<${again[1]}>`;
    if (this.take(/\(\?#[^)]*\)/)) return '';
    const flags = this.at === 0 ? this.take(/\(\?([aimsu]+)\)/) : null;
    if (!flags) this.fail(`has ${show(this.source.slice(this.at, this.at + 5))}, which cannot be taken over from Python.`);
    this.flags = [...new Set((flags as RegExpExecArray)[1].replaceAll(/[au]/g, ''))].join('');
    return '';
  }
}

function compile(pattern: string, owner: string, around: (source: string) => string): RegExp {
  const { source, flags } = new Translation(pattern, owner).run();
  try {
    new RegExp(source, flags); // alone: brackets that close what stands around it are no pattern
    return new RegExp(around(source), flags);
  } catch (error) {
    throw new OptionError(`${owner}: ${show(pattern)} is not a regular expression (${(error as Error).message}).`);
  }
}

/** Python's re.fullmatch(pattern, name). */
export function fullMatch(pattern: string, owner: string): (name: string) => boolean {
  const whole = compile(pattern, owner, (source) => `^(?:${source})$`);
  return (name) => whole.test(name);
}

/** What PEFT makes of a key of rank_pattern or alpha_pattern: it fits the end of a name, from a dot on. */
export function endMatch(pattern: string, owner: string): (name: string) => boolean {
  const end = compile(pattern, owner, (source) => `^(.*\\.)?(${source})$`);
  return (name) => end.test(name);
}

/** The number of the layer that a name stands in, by PEFT's layers_pattern: the first `<pattern>.<number>.` in it. */
export function layerIndex(patterns: string[], owner: string): (name: string) => number | undefined {
  const all = patterns.length
    ? patterns.map((pattern) => compile(pattern, owner, (source) => `^(?:|.*?\\.)${source}\\.(\\d+)\\.`))
    : [/^.*?\.[^.]*\.(\d+)\./];
  return (name) => {
    for (const pattern of all) {
      const index = pattern.exec(name)?.at(-1);
      if (index !== undefined) return Number(index);
    }
    return undefined;
  };
}
