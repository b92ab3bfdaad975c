import { ownsValues } from './backend';
import { accumulate } from './ops/accumulate';
import { sum } from './sum';
import * as tf from './tf';

/**
 * A gradient of one input. `sum` is the gradient that the input has from elsewhere, where it owns its values (so natively only): it may
 * be added to in place and returned.
 */
type Part = (sum?: tf.Tensor) => tf.Tensor;

/** The gradients of an op's inputs by name, of those at least for which `isWanted` holds. */
export type Gradient = (dy: tf.Tensor, saved: tf.Tensor[], isWanted: (input: string) => boolean) => Record<string, Part>;

/** What tfjs's engine records for each op while its tape is on. */
interface TapeNode {
  id: number;
  kernelName: string;
  inputs: Record<string, tf.Tensor>;
  outputs: tf.Tensor[];
  saved?: tf.Tensor[];
  /** Ours look at `isWanted`; those of tfjs give all gradients. */
  gradient?: (dys: tf.Tensor[], isWanted?: (input: string) => boolean) => Record<string, Part>;
}

interface EngineInside {
  state: { activeTape: TapeNode[] | null; nextTapeNodeId: number; kernelDepth: number; activeScope: { track: tf.Tensor[] } };
  backend: { incRef(data: object): void; refCount(data: object): number };
  makeTensorFromDataId(data: object, shape: number[], dtype: tf.DataType): tf.Tensor;
  isTapeOn(): boolean;
  startTape(): void;
  endTape(): void;
  startScope(name?: string): void;
  endScope(result?: tf.Tensor): void;
}
const engine = () => tf.engine() as unknown as EngineInside;

/** Another tensor of the same values: `clone` without the tape and the scopes that tfjs puts around it. */
function share(tensor: tf.Tensor): tf.Tensor {
  const inside = engine();
  inside.backend.incRef(tensor.dataId);
  return inside.makeTensorFromDataId(tensor.dataId, tensor.shape, tensor.dtype);
}

/** Makes tensors outlive the current scope: what was made in it as it is, others as tensors of their own. */
function keepAll(tensors: tf.Tensor[], others: tf.Tensor[] = []): tf.Tensor[] {
  const made = new Set(engine().state.activeScope.track);
  for (const other of others) made.delete(other);
  return tensors.map((tensor) => tf.keep(made.delete(tensor) ? tensor : share(tensor)));
}

/**
 * Runs an op with a gradient of its own: what tf.customGrad does, at a third of its price. `forward` gives the result and what
 * `gradient` will need; neither is on the tape itself. Where no tape is on, nothing is saved.
 */
export function taped(
  name: string,
  inputs: Record<string, tf.Tensor>,
  forward: () => { y: tf.Tensor; save: tf.Tensor[] },
  gradient: Gradient,
): tf.Tensor {
  const inside = engine();
  if (!inside.isTapeOn()) return tf.tidy(() => forward().y);
  let saved: tf.Tensor[] = [];
  inside.state.kernelDepth++;
  let y: tf.Tensor;
  try {
    y = tf.tidy(() => {
      const made = forward();
      saved = keepAll(made.save, [made.y]);
      return made.y;
    });
  } finally {
    inside.state.kernelDepth--;
  }
  (inside.state.activeTape as TapeNode[]).push({
    id: inside.state.nextTapeNodeId++,
    kernelName: name,
    inputs,
    outputs: [y],
    saved,
    gradient: ([dy], isWanted = () => true) => gradient(dy ?? tf.zerosLike(y), saved, isWanted),
  });
  return y;
}

/** Runs f off the tape: what it makes is a constant to the backward pass. */
export function untaped<T>(f: () => T): T {
  const { state } = engine();
  state.kernelDepth++;
  try {
    return f();
  } finally {
    state.kernelDepth--;
  }
}

/** A forward pass whose backward pass can be run once, later. */
export class Recorded {
  constructor(
    readonly value: tf.Tensor,
    private tape: TapeNode[],
  ) {}

  /**
   * Gradients of sum(dy * value) with respect to `wrt` (zeros where the value does not depend on one). Unlike tf.grads,
   * which holds every saved tensor and every gradient until its end, this frees each as soon as it has been used.
   * `sums`: gradients of `wrt` from elsewhere, which these are added to as they come, so that there are never two of each; they are
   * no longer the caller's, also where this fails.
   */
  pullback(wrt: tf.Tensor[], dy?: tf.Tensor, sums: tf.Tensor[] = []): tf.Tensor[] {
    const needed = new Set(wrt.map((x) => x.id));
    const path: TapeNode[] = [];
    for (const node of this.tape) {
      if (!Object.values(node.inputs).some((input) => needed.has(input.id))) continue;
      for (const output of node.outputs) needed.add(output.id);
      path.push(node);
    }
    const useful = new Set(path);
    for (const node of this.tape) if (!useful.has(node)) release(node);
    const gradients = new Map<number, tf.Tensor>([[this.value.id, dy ? dy.clone() : tf.onesLike(this.value)]]);
    for (const [i, sum] of sums.entries()) gradients.set(wrt[i].id, sum);
    const wanted = new Set(wrt.map((x) => x.id));
    try {
      while (path.length) {
        const node = path.pop() as TapeNode;
        const dys = node.outputs.map((output) => gradients.get(output.id));
        if (dys.some(Boolean) && node.gradient) {
          engine().startScope('backward');
          const made: tf.Tensor[] = [];
          try {
            const filled = dys.map((d, i) => d ?? tf.zerosLike(node.outputs[i]));
            const parts = node.gradient(filled, (name) => needed.has(node.inputs[name]?.id));
            for (const [name, input] of Object.entries(node.inputs)) {
              if (!needed.has(input.id) || !parts[name]) continue;
              const before = gradients.get(input.id);
              const own = before && ownsValues(before) ? before : undefined;
              const part = parts[name](own);
              if (part === before) continue; // added to in place
              if (own) {
                accumulate([own], [part]);
                continue;
              }
              const [total] = keepAll([before ? sum(before, part) : part], made);
              gradients.set(input.id, total);
              made.push(total);
              before?.dispose();
            }
          } finally {
            engine().endScope();
          }
        }
        for (const output of node.outputs) {
          if (wanted.has(output.id)) continue;
          gradients.get(output.id)?.dispose();
          gradients.delete(output.id);
        }
        release(node);
      }
      const results = wrt.map((x) => gradients.get(x.id)?.clone() ?? tf.zerosLike(x));
      return results;
    } finally {
      for (const gradient of gradients.values()) gradient.dispose();
      for (const node of path) release(node);
      this.tape = [];
    }
  }

  /** Bytes that are saved for the backward pass, shared values once. */
  get savedBytes(): number {
    const saved = new Map(this.tape.flatMap((node) => (node.saved ?? []).map((tensor) => [tensor.dataId, tensor] as const)));
    return [...saved.values()].reduce((sum, { size, dtype }) => sum + size * (dtype === 'bool' ? 1 : 4), 0);
  }

  /** Frees what was saved for a backward pass that will not be run. */
  dispose(): void {
    for (const node of this.tape) release(node);
    this.tape = [];
    this.value.dispose();
  }
}

function release(node: TapeNode): void {
  for (const tensor of node.saved ?? []) tensor.dispose();
  node.saved = [];
}

/**
 * Runs `f` with the tape on. The value, and what the backward pass needs, outlive the current scope: call `pullback` or
 * `dispose`. Calls may nest (recomputation inside a backward pass does), unlike tf.grads.
 */
export function record(f: () => tf.Tensor): Recorded {
  const inside = engine();
  const outer = inside.state.activeTape;
  inside.startTape();
  inside.state.activeTape = [];
  inside.startScope('record');
  let value: tf.Tensor | undefined;
  try {
    value = tf.keep(f());
    return new Recorded(value, inside.state.activeTape);
  } catch (error) {
    for (const node of inside.state.activeTape) release(node);
    throw error;
  } finally {
    inside.endScope(value);
    inside.endTape();
    inside.state.activeTape = outer;
  }
}

/**
 * f(x), keeping only x for the backward pass, which runs f again (Chen et al., 2016, https://arxiv.org/abs/1604.06174).
 * `params` are the trained tensors that f uses.
 */
export function checkpoint(f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor, params: tf.Tensor[]): tf.Tensor {
  const run = tf.customGrad((...args) => {
    const save = args.pop() as unknown as (tensors: tf.Tensor[]) => void;
    save([args[0] as tf.Tensor]);
    return {
      value: f(args[0] as tf.Tensor),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const again = record(() => f(saved[0]));
        const gradients = again.pullback([saved[0], ...params], dy);
        again.value.dispose();
        return gradients;
      },
    };
  });
  return run(x, ...params);
}
