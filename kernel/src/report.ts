import { GREATEST_LOWER_BOUND, LEAST_UPPER_BOUND, originalPositionFor, TraceMap } from '@jridgewell/trace-mapping';
import { syntaxAdvice } from './advice';
import type { Complaint } from './language';
import { CAUSE, type Outcome, type Thrown } from './outcome';

/** An error as Jupyter's messages hold it. */
export interface ErrorContent {
  ename: string;
  evalue: string;
  traceback: string[];
}

const RED = '\x1b[31m';
const BOLD = '\x1b[1m';
const DIM = '\x1b[2m';
const PLAIN = '\x1b[0m';

/** An error that says all there is to say in a sentence. */
export const plainError = (ename: string, evalue: string): ErrorContent => ({
  ename,
  evalue,
  traceback: [`${RED}${BOLD}${ename}${PLAIN}: ${evalue}`],
});

/** The line, with a mark under the part that is meant. */
function excerpt(code: string, { line, column, length }: { line: number; column: number; length: number }): string {
  const source = code.split('\n')[line - 1];
  if (source === undefined) return '';
  return `\n    ${source}\n    ${' '.repeat(column - 1)}${RED}${'^'.repeat(Math.max(1, Math.min(length, source.length - column + 1)))}${PLAIN}`;
}

export function typeErrors(code: string, complaints: Complaint[]): ErrorContent {
  const shown = complaints.map((complaint) => `line ${complaint.line}:${complaint.column}  ${complaint.text}${excerpt(code, complaint)}`);
  return {
    ename: 'TypeCheckError',
    evalue: complaints[0].text,
    traceback: [`${BOLD}TypeCheckError${PLAIN}: the cell was not run.\n${shown.join('\n')}`],
  };
}

export function syntaxError(code: string, error: { message: string; line: number; column: number }): ErrorContent {
  const { line, column } = error;
  const message = error.message + syntaxAdvice(code.split('\n')[line - 1] ?? '');
  const place = { line, column: column + 1, length: 1 };
  const traceback = [`${BOLD}SyntaxError${PLAIN}: the cell was not run.\nline ${line}:${column + 1}  ${message}${excerpt(code, place)}`];
  return { ename: 'SyntaxError', evalue: message, traceback };
}

/** The line of the source that a line of its JavaScript comes from; null where none does. */
function lineOf(line: number, map: string | undefined): number | null {
  if (!map) return line;
  const trace = new TraceMap(map);
  const at = { line, column: 0 };
  const found = originalPositionFor(trace, { ...at, bias: LEAST_UPPER_BOUND });
  return (found.line === null ? originalPositionFor(trace, { ...at, bias: GREATEST_LOWER_BOUND }) : found).line;
}

/** A cell as its reader knows it. Numbers are those of the prompts; cells without one have numbers below 0. */
const cellOf = (number: number): string => (number > 0 ? `cell [${number}]` : 'a cell without a number');

/** What the type checker says, where it tells types of one name apart by the modules that declare them. */
export const withCells = (text: string): string =>
  text
    .replace(/(?:typeof )?import\("[^"]*\/cell-(-?\d+)"\)\.([\w$]+)/g, (_, number, name) => `${name} of ${cellOf(Number(number))}`)
    .replace(/import\("[^"]*\/(?:checked|asked)"\)\.([\w$]+)/g, (_, name) => `${name} of this cell`);

const REMEMBERED = 2000;

/** Where each cell's JavaScript comes from; of the latest cells. */
export class Sources {
  private readonly cells = new Map<string, { code: string; map?: string }>();

  add(file: string, code: string, map: string | undefined): void {
    this.cells.set(file, { code, map });
    if (this.cells.size > REMEMBERED) this.cells.delete(this.cells.keys().next().value as string);
  }

  /** What a cell threw, with the errors that it carries and the places in cells that each came through. */
  thrown(error: Thrown): ErrorContent {
    return { ename: error.ename, evalue: error.evalue, traceback: this.lines(error) };
  }

  /** Results of expressions as messages hold them. */
  answers(results: Record<string, Outcome>): Record<string, object> {
    const answer = (result: Outcome) =>
      result.ok ? { status: 'ok', data: result.data, metadata: {} } : { status: 'error', ...this.thrown(result) };
    return Object.fromEntries(Object.entries(results).map(([name, result]) => [name, answer(result)]));
  }

  private lines(error: Thrown & { why?: string }): string[] {
    const { ename, evalue, why, carried } = error;
    const what = ename ? `${RED}${BOLD}${ename}${PLAIN}: ${evalue}` : evalue;
    // Those of a list stand under it; a cause is another part of the same story.
    const inner = carried.flatMap((one) => this.lines(one).map((line) => (one.why === CAUSE ? line : indented(line))));
    return [why ? `${why}: ${what}` : what, ...this.places(error), ...inner];
  }

  private places({ ename, stack }: Thrown): string[] {
    // An error that was written for its reader needs no stack.
    if (OWN.test(ename)) return [];
    const frames: string[] = [];
    let shown = '';
    for (const line of stack.split('\n')) {
      const [, name, file, number, row] = line.match(/^\s+at (?:(?:async )?(.*?) \()?(cell-(-?\d+)\.ts):(\d+):\d+\)?$/) ?? [];
      const cell = this.cells.get(file);
      if (!cell) continue;
      const at = lineOf(Number(row), cell.map);
      if (at === null) continue;
      frames.push(`    ${DIM}at${PLAIN} ${name && name !== 'eval' ? `${name}, ` : ''}${cellOf(Number(number))} line ${at}`);
      const source = cell.code.split('\n')[at - 1];
      if (!shown && source !== undefined) shown = `    ${at} | ${source}`;
    }
    return shown ? [shown, ...frames] : frames;
  }
}

const indented = (text: string) => text.replaceAll(/^/gm, '  ');

/** Of the library, which says what to do in a sentence. */
const OWN = /^(Tunebook|Option|File|Data|Training|Shape|Memory)Error$/;

export const interrupted: ErrorContent = {
  ename: 'Interrupted',
  evalue: 'the cell was interrupted',
  traceback: [`${BOLD}Interrupted${PLAIN}: the cell was interrupted. What earlier cells and this one had set is kept.`],
};
