/** An object that can be called as a function, as in Python: `tokenizer('a text')` is `tokenizer.called('a text')`. */
export abstract class Callable {
  constructor() {
    // biome-ignore lint/suspicious/noExplicitAny: a function of whatever `called` takes
    const itself: any = (...given: unknown[]) => itself.called(...given);
    // Its own, not a function's.
    delete itself.length;
    delete itself.name;
    // biome-ignore lint/correctness/noConstructorReturn: only a function can be called
    return Object.setPrototypeOf(itself, new.target.prototype);
  }

  /** What a call does. */
  abstract called(...given: never[]): unknown;
}
