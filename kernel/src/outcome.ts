/** An error as text: `stack` still names the places in the JavaScript that ran. */
export interface Thrown {
  /** Empty where something was thrown that is no error. */
  ename: string;
  evalue: string;
  stack: string;
  /** Errors that it carries: its cause, those it stands for. */
  carried: Carried[];
}

export type Carried = Thrown & { why: string };

/** What is said before a cause. */
export const CAUSE = 'Caused by';

/** How a cell ended. */
export type Outcome = { ok: true; data?: Record<string, unknown> } | ({ ok: false } & Thrown);
