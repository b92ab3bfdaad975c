import { Promised, sturdyMap } from '../sturdy';
import { cellNow } from './context';
import { emit } from './output';

interface Waiting {
  type: string;
  cell: number;
  resolve(value: never): void;
  reject(error: Error): void;
}

const waiting = sturdyMap<number, Waiting>();
let asked = 0;

/** Asks the front end for something; the running code goes on when the answer is here. */
export function ask<T>(question: { type: string; [name: string]: unknown }): Promise<T> {
  const id = ++asked;
  return new Promised<T>((resolve, reject) => {
    waiting.set(id, { type: question.type, cell: cellNow(), resolve, reject });
    emit({ ...question, id });
  });
}

export function answered({ id, value, error }: { id: number; value?: unknown; error?: string }): void {
  const found = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) found?.resolve(value as never);
  else found?.reject(new Error(error));
}

/** What a cell asked of the reader ends with it: nobody will answer. With `cut`, whoever waits is not to go on either. */
export function dropQuestions(cell: number, cut: boolean): void {
  waiting.forEach((question, id) => {
    if (question.cell !== cell || question.type !== 'input') return;
    waiting.delete(id);
    if (!cut) question.reject(new Error('input(): the cell that asked has ended, so its question is gone.'));
  });
}
