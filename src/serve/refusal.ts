import { MemoryError, OptionError } from '../core/errors';
import { remedied } from '../engine/plain_error';
import { Busy, NoSuchAdapter, TimedOut } from './faults';

/** What a client is told when a request cannot be answered, as OpenAI tells it. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly type = 'invalid_request_error',
    readonly code: string | null = null,
    readonly param: string | null = null,
  ) {
    super(message);
  }

  get body() {
    const { message, type, code, param } = this;
    return { error: { message, type, param, code } };
  }
}

/** Of a field that cannot be as it is. */
export const refuse = (what: string, param: string, code: string | null = null) =>
  new Refusal(400, what, 'invalid_request_error', code, param);

/** The refusal that an error comes to; what is no fault of the request is the server's. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const told = remedied(error, 'serving');
  const { message } = told as Error;
  if (error instanceof NoSuchAdapter) return new Refusal(404, message, 'invalid_request_error', 'model_not_found', 'model');
  if (error instanceof OptionError) return new Refusal(400, message);
  if (error instanceof Busy) return new Refusal(503, message, 'overloaded_error', 'busy');
  if (error instanceof TimedOut)
    return new Refusal(504, 'The answer was not written in time (request_timeout). Ask for fewer tokens.', 'timeout_error', 'timeout');
  if (told instanceof MemoryError) return new Refusal(503, message, 'overloaded_error', 'memory');
  return new Refusal(500, `The server failed: ${message}`, 'server_error');
}
