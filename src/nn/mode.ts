/**
 * Whether the forward pass now running trains (dropout is on), and the seed its masks come from. The trainer sets it for each
 * micro-batch, so that recomputation and resumed runs draw the same masks.
 */
const mode = { seed: undefined as number | undefined };

/** Runs f with dropout on. */
export function training<T>(seed: number, f: () => T): T {
  const before = mode.seed;
  mode.seed = seed;
  try {
    return f();
  } finally {
    mode.seed = before;
  }
}

/** The seed of this pass, or undefined outside training. */
export const dropoutSeed = (): number | undefined => mode.seed;
