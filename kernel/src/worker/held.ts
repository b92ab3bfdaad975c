interface Resource {
  dispose?: () => unknown;
  waits: boolean;
}

// Node.js 20 has the symbols; where they are missing, these are what compilers write instead.
const DISPOSE: symbol = Symbol.dispose ?? Symbol.for('Symbol.dispose');
const ASYNC_DISPOSE: symbol = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

/** What code holds by `using` at its top level, as https://github.com/tc39/proposal-explicit-resource-management has it. */
export class Held {
  private readonly resources: Resource[] = [];

  /** Takes a value in. `waits`: by `await using`. */
  readonly use = <T>(value: T, waits = false): T => {
    if (value === null || value === undefined) {
      if (waits) this.resources.push({ waits });
      return value;
    }
    if (typeof value !== 'object' && typeof value !== 'function')
      throw new TypeError(`using: an object was expected, not ${String(value)}.`);
    const methods = value as unknown as Record<symbol, unknown>;
    const later = waits ? methods[ASYNC_DISPOSE] : undefined;
    const dispose = later ?? methods[DISPOSE];
    if (typeof dispose !== 'function')
      throw new TypeError(`using: the object has no method [Symbol.dispose]${waits ? ' or [Symbol.asyncDispose]' : ''}.`);
    // What a plain [Symbol.dispose] returns is not waited for.
    this.resources.push({ waits, dispose: () => (later ? dispose.call(value) : void dispose.call(value)) });
    return value;
  };

  /** Lets go of all, the last first; then throws what failed, `thrown` before. */
  async release(thrown?: { error: unknown }): Promise<void> {
    let failed = thrown;
    for (let resource = this.resources.pop(); resource; resource = this.resources.pop())
      try {
        const done = resource.dispose?.();
        if (resource.waits) await done;
      } catch (error) {
        failed = { error: failed ? suppressed(error, failed.error) : error };
      }
    if (failed) throw failed.error;
  }
}

type Suppressed = new (error: unknown, suppressed: unknown, message?: string) => Error;
const provided = globalThis as { SuppressedError?: Suppressed };

/** Before Node.js 24 there is none. */
provided.SuppressedError ??= class SuppressedError extends Error {
  constructor(
    readonly error: unknown,
    readonly suppressed: unknown,
    message?: string,
  ) {
    super(message);
  }
};
Object.defineProperty(provided.SuppressedError.prototype, 'name', { value: 'SuppressedError', configurable: true, writable: true });
const { SuppressedError } = provided;

const suppressed = (error: unknown, before: unknown) => new SuppressedError(error, before, 'An error was suppressed during disposal');
