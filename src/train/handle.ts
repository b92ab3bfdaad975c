import { InterruptedError, OptionError } from '../core/errors';
import { CallbackError } from './callbacks/callback';

/** What can be asked of a run while it trains. */
export type Action = 'pause' | 'resume' | 'stop' | 'sample' | 'evaluate' | 'learning_rate' | 'ask';

/** The rate for learning_rate, the question for ask. */
type Value = number | string;

/** Characters of a question. */
const LONGEST = 4000;

interface Request {
  action: Action;
  value?: Value;
  resolve: (answer: string) => void;
  reject: (error: Error) => void;
}

/**
 * What a trainer can be asked for while it trains, from another cell, a console or the view's buttons. Requests wait until the
 * step is done that the trainer is in; each answer says what came of it.
 */
export class Handle {
  /** Training ends after the step it is in. */
  stopWanted = false;
  /** And nothing is saved. */
  endWanted = false;
  paused = false;
  /** Called when a stop is asked for. */
  onStop = () => {};
  private isOpen = false;
  private waiting: Request[] = [];
  private wake = () => {};

  /** Whether a run is on that can be asked. */
  get open(): boolean {
    return this.isOpen;
  }

  begin(): void {
    Object.assign(this, { stopWanted: false, endWanted: false, paused: false, isOpen: true, waiting: [] });
  }

  /** Ends the run's time; what was still waiting is answered by `text`. */
  end(text: string): void {
    this.isOpen = false;
    this.paused = false;
    for (const { action, resolve, reject } of this.waiting.splice(0))
      if (action === 'stop') resolve(text);
      else reject(new OptionError(`Training is over: ${text}.`));
  }

  /** Resolves with a sentence once it is done; rejects where it cannot be. */
  ask(action: Action, value?: Value): Promise<string> {
    if (!this.isOpen) return Promise.reject(new OptionError('Training is over or has not begun: there is nothing to act on.'));
    if (action === 'learning_rate' && !(typeof value === 'number' && Number.isFinite(value) && value >= 0))
      return Promise.reject(new OptionError(`learning_rate must be a number of at least 0, but is ${value}. 1e-4 is common for LoRA.`));
    if (action === 'ask' && !(typeof value === 'string' && value.trim() && value.length <= LONGEST))
      return Promise.reject(new OptionError(`A question is a text of at most ${LONGEST} characters, and not an empty one.`));
    if (action === 'stop') this.wantStop();
    return new Promise((resolve, reject) => {
      this.waiting.push({ action, value, resolve, reject });
      this.wake();
    });
  }

  /** An interrupt: the first ends training after its step, a second one at once. Returns what is to be said of it. */
  interrupt(): string {
    const isSecond = this.stopWanted;
    if (isSecond) this.endWanted = true;
    this.stop();
    return isSecond
      ? 'Second interrupt: ending at once, without saving.'
      : 'Interrupt received: finishing this step, then saving. A second one ends at once.';
  }

  /** Ends training after its step, and a pause at once. */
  stop(): void {
    this.wantStop();
    this.wake();
  }

  private wantStop(): void {
    this.stopWanted = true;
    this.onStop();
  }

  /** Between steps: does what was asked for, and stays while the run is paused. A stop is answered when all is saved. Returns the seconds it was paused. */
  async attend(act: (action: Action, value?: Value) => Promise<string>): Promise<number> {
    let since: number | undefined;
    for (;;) {
      const stops: Request[] = [];
      for (let request = this.waiting.shift(); request; request = this.waiting.shift()) {
        if (request.action === 'stop') {
          stops.push(request);
          continue;
        }
        await act(request.action, request.value).then(request.resolve, (error: Error) => {
          request.reject(error);
          if (error instanceof InterruptedError || error instanceof CallbackError) throw error; // it is the run's
        });
      }
      this.waiting.push(...stops);
      if (!this.paused || this.stopWanted) return since === undefined ? 0 : (performance.now() - since) / 1000;
      since ??= performance.now();
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
