import type { Statement } from './ast';
import { Evaluator, GENERATION, Scope } from './evaluate';
import { strftime } from './strftime';
import { bind, integer, text } from './text';
import { chains, type Token, testsWithArguments, tuples } from './tokens';
import { type Callable, fromJs, isDict, itemsOf, Namespace, TemplateError, type Value } from './values';

/** What of the package is used; its types speak of ES modules only, though it brings a CommonJS build. */
const jinja = require('@huggingface/jinja') as {
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): Token[];
  parse(tokens: Token[]): Extract<Statement, { type: 'Program' }>;
};

export interface Rendered {
  text: string;
  /** Where the text inside `{% generation %}` blocks stands, as [from, to). */
  generated: [number, number][];
}

/** Jinja's sandbox has the same limit. */
const MAX_RANGE = 100_000;
const range: Callable = (args) => {
  const [start, stop] = args.length > 1 ? args : [0, args[0]];
  const [from, to, step] = [integer(start, 'start', 0), integer(stop, 'stop', 0), integer(args[2], 'step', 1)];
  if (!step) throw new TemplateError('range() arg 3 must not be zero');
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > MAX_RANGE) throw new TemplateError(`range() of ${length} numbers; templates may have ${MAX_RANGE}`);
  return Array.from({ length }, (_, i) => from + i * step);
};
const dict: Callable = ([from], named) => {
  const pairs = from === undefined ? [] : isDict(from) ? [...from] : itemsOf(from).map((pair) => itemsOf(pair) as [Value, Value]);
  return new Map<Value, Value>([...pairs, ...named]);
};
const joiner: Callable = (args, named) => {
  let used = false;
  return () => {
    const between = used ? (bind(args, named, ['sep'])[0] ?? ', ') : '';
    used = true;
    return between;
  };
};
const GLOBALS: [string, Value][] = [
  ...(['true', 'True'].map((name) => [name, true]) as [string, Value][]),
  ...(['false', 'False'].map((name) => [name, false]) as [string, Value][]),
  ...(['none', 'None'].map((name) => [name, null]) as [string, Value][]),
  ['range', range],
  ['dict', dict],
  ['joiner', joiner],
  ['namespace', (args, named) => new Namespace(dict(args, named) as Map<string, Value>)],
  [
    'raise_exception',
    ([message]) => {
      throw new TemplateError(text(message, 'the message'));
    },
  ],
];

/** What f returns; recursion without end and texts beyond JavaScript's longest are the template's errors. */
function run(f: () => string): string {
  try {
    return f();
  } catch (error) {
    throw error instanceof RangeError ? new TemplateError(error.message) : error;
  }
}

/** Characters that Unicode reserves for such use: never in a text. */
const [OPEN, CLOSE] = ['\ufdd0', '\ufdd1'];

/**
 * A Jinja template with Python's results: @huggingface/jinja parses it, with the settings of transformers (trim_blocks, lstrip_blocks,
 * loop controls, `{% generation %}`), and it is evaluated here.
 */
export class Template {
  private readonly body: Extract<Statement, { type: 'Program' }>;
  /** Whether it says itself what the assistant's text is. */
  readonly marksGeneration: boolean;

  constructor(readonly source: string) {
    const named = source.replace(
      /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g,
      (_, left: string, end: string | undefined, right: string) => `{%${left} ${end ? 'endcall' : `call ${GENERATION}()`} ${right}%}`,
    );
    this.marksGeneration = named !== source;
    this.body = jinja.parse(chains(tuples(testsWithArguments(jinja.tokenize(named, { lstrip_blocks: true, trim_blocks: true })))));
  }

  /** Its text with these variables; `now` is what strftime_now tells. Errors: TemplateError. */
  render(variables: object, marked = false, now = new Date()): Rendered {
    const scope = new Scope();
    for (const [name, value] of GLOBALS) scope.set(name, value);
    scope.set('strftime_now', ([format]) => strftime(now, text(format, 'the format')));
    for (const [name, value] of Object.entries(variables)) scope.set(name, fromJs(value));
    const mark = marked ? (inner: string) => OPEN + inner + CLOSE : (inner: string) => inner;
    const written = run(() => new Evaluator(mark).run(this.body.body, new Scope(scope)));
    if (!marked) return { text: written, generated: [] };
    const generated: [number, number][] = [];
    let [out, from, depth] = ['', 0, 0];
    for (const part of written.split(/([\ufdd0\ufdd1])/)) {
      if (part === OPEN && depth++ === 0) from = out.length;
      else if (part === CLOSE && --depth === 0) generated.push([from, out.length]);
      else if (part !== OPEN && part !== CLOSE) out += part;
    }
    return { text: out, generated };
  }
}
