import * as kinds from './kinds';
import type { OptimizerKind } from './optimizer';

export { Optimizer } from './optimizer';

/** Optimizers by the values of `optim` that mean them. */
export const OPTIMIZERS: Record<string, OptimizerKind> = Object.fromEntries(
  Object.values(kinds).flatMap((kind: OptimizerKind) => Object.keys(kind.names).map((name) => [name, kind])),
);
