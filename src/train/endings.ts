import { FileError, TrainingError } from '../core/errors';

/** Ends a run between two steps: what was trained is saved first. */
export class RunError extends TrainingError {}

export const NOTHING_TO_EVALUATE = 'There is nothing to evaluate on: give the trainer an eval_dataset.';

const IN_MEMORY = 'What was trained is still in memory: free some space and call `await trainer.save_model()`, or give it another folder.';
const GO_ON = 'go on with trainer.train({ resume_from_checkpoint: true }).';

/** Of a run whose last checkpoint could not be saved. */
export function unsaved(error: Error): never {
  throw error instanceof FileError ? new FileError(`${error.message} ${IN_MEMORY}`) : error;
}

/** Of a step that cannot be taken; `saved`: the checkpoint of the one before; `where`: what is no number, in words. */
export const notFinite = (
  step: number,
  [what, value]: [string, number],
  { saved, rate, where }: { saved: string | null; rate: number; where: string },
): TrainingError =>
  new TrainingError(
    `Training stopped at step ${step}: the ${what} is ${value}${where}. ` +
      `${saved ? `The last good state is saved in ${saved}.` : 'No step had been taken.'} Lower learning_rate (now ${rate}), add warmup_steps, or look at the rows of this step.`,
  );

/** What is added to an error that ended a run; `saved`: its checkpoint, or why there is none. */
export const rescue = (saved: string | Error | null): string =>
  saved === null
    ? ' No step had been taken.'
    : typeof saved === 'string'
      ? ` All that was trained is saved in ${saved}; ${GO_ON}`
      : ` ${saved.message} ${IN_MEMORY}`;

/** The last line of progress of a run that did not take all its steps. */
export const unfinished = (step: number, total: number, { saved, by }: { saved?: string | null; by: string }): string =>
  saved
    ? `Stopped${by} after step ${step} of ${total}. Saved ${saved}; ${GO_ON}`
    : `Finished after ${step} of ${total} steps: a callback ended an epoch early.`;
