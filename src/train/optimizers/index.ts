import * as kinds from './kinds';
import type { OptimizerKind } from './optimizer';

export { Optimizer, optimArgs } from './optimizer';

type Kinds = typeof kinds;
/** The values of `optim`. */
export type OptimizerName = { [K in keyof Kinds]: keyof Kinds[K]['names'] }[keyof Kinds];

/** Optimizers by the values of `optim` that mean them. */
export const OPTIMIZERS: Record<string, OptimizerKind> = Object.fromEntries(
  Object.values(kinds).flatMap((kind: OptimizerKind) => Object.keys(kind.names).map((name) => [name, kind])),
);
