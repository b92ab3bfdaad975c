import { inspect } from 'node:util';
import { escapeHtml } from '../core/html';
import { DISPLAY, type Shown } from '../core/shown';

/** A sentence for the learner, in a colour of its own; code stands in `backquotes`, blocks of it between lines of three. */
export class Note {
  constructor(
    readonly kind: 'right' | 'not yet' | 'hint' | 'solution',
    readonly text: string,
  ) {}

  /** Whether the answer was right. */
  get right(): boolean {
    return this.kind === 'right';
  }

  [inspect.custom](): string {
    return `${TITLES[this.kind]}: ${this.text}`;
  }

  [DISPLAY](): Shown {
    const html = escapeHtml(this.text)
      .replace(/```\n([\s\S]*?)\n```/g, '<pre>$1</pre>')
      .replace(/`([^`]+)`/g, '<code>$1</code>');
    const style = `border-left:4px solid ${COLOURS[this.kind]};padding:0.3em 0.8em`;
    return { 'text/plain': this[inspect.custom](), 'text/html': `<div style="${style}"><b>${TITLES[this.kind]}.</b> ${html}</div>` };
  }
}

const TITLES = { right: 'Right', 'not yet': 'Not yet', hint: 'Hint', solution: 'Solution' } as const;
// Okabe and Ito's colours, told apart with any kind of colour vision.
const COLOURS = { right: '#009e73', 'not yet': '#d55e00', hint: '#0072b2', solution: '#999999' } as const;

/** A question to the learner: called with an answer it says whether that is right, and if not, what is missing. */
export interface Exercise<A> {
  (answer?: A): Note;
  /** What leads to the answer, without it. */
  hint(): Note;
  /** An answer that is right, and why. */
  solution(): Note;
}

/** What an exercise consists of. */
export interface Parts<A> {
  /** What an answer is, as it may be written: 'a number, or a function (out, in, r) => number'. */
  takes: string;
  hint: string;
  solution: string;
  /** What is said of a right answer. */
  because: string;
  /** What an answer lacks; nothing where it is right. Answers may be of any kind. */
  lacks(answer: A): string | undefined;
}

export function exercise<A>({ takes, hint, solution, because, lacks }: Parts<A>): Exercise<A> {
  const judge = (answer?: A): Note => {
    if (answer === undefined || answer === null) return new Note('not yet', `there is no answer yet. It is ${takes}.`);
    try {
      const missing = lacks(answer);
      return missing === undefined ? new Note('right', because) : new Note('not yet', missing);
    } catch (error) {
      return new Note('not yet', `the answer was tried, and ended with an error: ${(error as Error).message}. It is ${takes}.`);
    }
  };
  return Object.assign(judge, { hint: () => new Note('hint', hint), solution: () => new Note('solution', solution) });
}
