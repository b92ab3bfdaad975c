/** An error a user can act on: what was wrong, the values seen, what to do. */
export class TunebookError extends Error {
  override name = 'TunebookError';
}

/** An option, name or value that the caller got wrong. */
export class OptionError extends TunebookError {
  override name = 'OptionError';
}

/** A file that is missing, damaged or of another format. */
export class FileError extends TunebookError {
  override name = 'FileError';
}

/** What a model hub refused, or a network that failed on the way. */
export class HubError extends TunebookError {
  override name = 'HubError';
  /** `status`: HTTP's; undefined where no answer came. `code`: the hub's own word, X-Error-Code. */
  constructor(
    text: string,
    readonly status?: number,
    readonly code?: string,
  ) {
    super(text);
  }
}

/** Data rows that cannot be trained on. */
export class DataError extends TunebookError {
  override name = 'DataError';
}

/** Training that cannot go on (a loss that is not a number, say). */
export class TrainingError extends TunebookError {
  override name = 'TrainingError';
}

/** Work that was ended from outside before it was done. */
export class InterruptedError extends TunebookError {
  override name = 'InterruptedError';
}

/** Memory that the machine does not have. */
export class MemoryError extends TunebookError {
  override name = 'MemoryError';
}

/** Tensors whose shapes do not fit. */
export class ShapeError extends TunebookError {
  override name = 'ShapeError';
}

/** The smallest number of insertions, deletions and substitutions from a to b (Levenshtein, 1966). */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++)
      current[j] = Math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    previous = current;
  }
  return previous[b.length];
}

/** The name most like `wanted`, or undefined where none is near. Case and underscores do not count: loraAlpha is lora_alpha. */
export function nearest(wanted: string, names: Iterable<string>): string | undefined {
  const plain = (s: string) => s.toLowerCase().replaceAll(/[_\-\s]/g, '');
  let best: string | undefined;
  let least = Math.max(2, Math.floor(wanted.length * 0.4)) + 1;
  for (const name of names) {
    const distance = editDistance(plain(wanted), plain(name));
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}
