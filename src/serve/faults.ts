import { OptionError, TunebookError } from '../core/errors';

/** There is too much to do already. */
export class Busy extends TunebookError {
  override name = 'Busy';
}

/** An answer that was not written in time. */
export class TimedOut extends Error {}

/** An adapter of that name is not there, or not any more. */
export class NoSuchAdapter extends OptionError {}
