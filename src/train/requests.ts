import { OptionError } from '../core/errors';
import type { TrainedModel } from './gradients';
import type { Action } from './handle';
import { during, note, tell } from './run';
import { answerTo } from './samples';
import type { Session, SessionParts } from './session';

/** Tokens of the answer to a question, at most. */
const ANSWER = 96;

/** Does what a run was asked for between two steps, and says what came of it. */
export async function answer<M extends TrainedModel, E>(
  { handle, trainer, parts: { prompts, model, tokenizer } }: SessionParts<M, E>,
  session: Session<M, E>,
  action: Action,
  value?: number | string,
): Promise<string> {
  const { run } = session;
  switch (action) {
    case 'pause':
      if (run.status === 'paused') return 'It is paused already.';
      handle.paused = true;
      run.status = 'paused';
      note(run, 'paused', `paused after step ${run.step}`);
      break;
    case 'resume':
      if (run.status !== 'paused') return 'It is training.';
      handle.paused = false;
      run.status = 'running';
      note(run, 'resumed', `resumed after step ${run.step}`);
      break;
    case 'sample':
      if (!prompts.length) throw new OptionError('There is nothing to ask the model: give SFTConfig sample_prompts.');
      run.samples.push(...(await trainer.sample()));
      tell(run, handle, 'change');
      return `${prompts.length === 1 ? 'One sample' : `${prompts.length} samples`} taken after step ${run.step}.`;
    case 'ask': {
      const question = String(value).trim();
      const short = question.length > 60 ? `${question.slice(0, 59).replace(/[\ud800-\udbff]$/, '')}…` : question;
      const writer = { model, tokenizer, max_new_tokens: ANSWER };
      run.samples.push(await during(run, handle, `generating an answer to “${short}”`, () => answerTo(writer, question, run.step)));
      tell(run, handle, 'change');
      return `Answered after step ${run.step}.`;
    }
    case 'evaluate':
      return `Evaluation loss after step ${run.step}: ${(await trainer.evaluate()).eval_loss.toFixed(4)}.`;
    case 'learning_rate':
      session.setRate(value as number);
  }
  tell(run, handle, 'change');
  return `${run.events.at(-1)?.text}.`.replace(/^./, (c) => c.toUpperCase());
}
