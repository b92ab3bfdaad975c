import { inspect } from 'node:util';
import { keys, stringify } from '../sturdy';
import { DisplayError, textOf } from './errors';
import { Json } from './output';

const plainInspect = inspect;
/** How deep a value is shown, and how long that may be: what is longer is shown less deep. */
const [DEPTHS, LONGEST] = [[6, 4], 20_000];

/** A value as Node shows it, but no `[Object]` where there is room for what is in it. */
function inWords(value: unknown): string {
  for (let i = 0; i < DEPTHS.length; i++) {
    const text = plainInspect(value, { depth: DEPTHS[i] });
    if (text.length <= LONGEST) return text;
  }
  return plainInspect(value);
}

const DISPLAY = Symbol.for('Jupyter.display');
const GIVES = "Symbol.for('Jupyter.display') must give";
const { isView } = ArrayBuffer;
const { isArray } = Array;

/** A value as a front end shows it. A value that knows how (Symbol.for('Jupyter.display')) says so itself, at once or later. */
export async function bundle(value: unknown): Promise<Json> {
  const what = 'The value of the cell';
  const can = value !== null && (typeof value === 'object' || typeof value === 'function');
  let made: unknown;
  try {
    const show = can ? (value as Record<symbol, unknown>)[DISPLAY] : undefined;
    made = typeof show === 'function' ? await show.call(value) : { 'text/plain': inWords(value) };
  } catch (error) {
    throw new DisplayError(what, error);
  }
  const data: Record<string, unknown> = {};
  for (let types = typesOf(made, what, GIVES), i = 0; i < types.length; i++)
    try {
      data[types[i]] = await (made as Record<string, unknown>)[types[i]];
    } catch (error) {
      throw new DisplayError(what, error, types[i]);
    }
  return bundleOf(data, what);
}

/** A bundle of representations, each named by its media type, as JSON. Bytes become what notebooks hold of them: base64. */
export function bundleOf(data: unknown, what: string): Json {
  let fields = '';
  for (let types = typesOf(data, what, 'display must be given'), i = 0; i < types.length; i++)
    try {
      const content = contentOf(types[i], (data as Record<string, unknown>)[types[i]]);
      fields += `${fields && ','}${stringify(types[i])}:${content}`;
    } catch (error) {
      throw new DisplayError(what, error, types[i]);
    }
  return new Json(`{${fields}}`);
}

function typesOf(data: unknown, what: string, who: string): string[] {
  try {
    if (typeof data === 'object' && data !== null && !isArray(data) && !isView(data)) return keys(data);
  } catch (error) {
    throw new DisplayError(what, error);
  }
  throw new DisplayError(what, new TypeError(`${who} an object of MIME types and their data, not ${textOf(data)}.`));
}

/** Notebooks hold text and JSON, each under types of its kind. */
function contentOf(type: string, content: unknown): string {
  const isJson = /json$/i.test(type);
  if (!isJson && isView(content)) return stringify(Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString('base64'));
  const isText = typeof content === 'string' || (isArray(content) && content.every((line) => typeof line === 'string'));
  const text = isJson || isText ? stringify(content) : undefined;
  if (text === undefined) throw new TypeError(`it must be ${isJson ? 'what JSON can hold' : 'text'}, not ${textOf(content)}.`);
  return text;
}
