import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { endIfInterrupted } from '../core/interrupt';
import { show } from '../core/options';
import { plainError } from './plain_error';
import * as tf from './tf';

/** tfjs-node's native binding: handles are numbers, types are TensorFlow's. */
interface Binding {
  TF_FLOAT: number;
  TF_INT32: number;
  TF_UINT8: number;
  TF_ATTR_INT: number;
  TF_ATTR_FLOAT: number;
  TF_ATTR_TYPE: number;
  createTensor(shape: number[], type: number, values: ArrayBufferView): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): ArrayBufferView;
  executeOp(name: string, attributes: object[], inputs: number[], outputs: number): { id: number; shape: number[]; dtype: number }[];
}

interface NodeBackend extends tf.KernelBackend {
  binding: Binding;
  isUsingGpuDevice: boolean;
  getInputTensorIds(tensors: tf.Tensor[]): number[];
  createOutputTensor(metadata: { id: number; shape: number[]; dtype: number }): tf.Tensor;
}

export interface BackendInfo {
  /** 'tensorflow' (native), 'gpu' (TensorFlow with CUDA), 'webgpu', 'wasm' or 'cpu'. */
  name: string;
  native: boolean;
  /** Why this one. */
  reason: string;
  threads?: number;
  /** Whether the CPU has bf16 instructions and the ops use them. */
  bf16: boolean;
}

/** The addon with our ops. */
interface Addon {
  describe(): { threads: number; bf16: boolean; grouped: number[] };
  peak(bf16: boolean, seconds: number): number;
  /** Gives back pages of TensorFlow's libraries that only starting them needed, and memory that was freed. */
  trim(): void;
}

let native: NodeBackend | undefined;
let groupedKinds: ReadonlySet<number> = new Set();
let addon: Addon | undefined;
let info: BackendInfo | undefined;

// Plain JavaScript, shared with set-up, at the same place seen from src/ and from lib/.
const build = () => require('../../scripts/native.cjs') as typeof import('../../scripts/native.cjs');

/** tfjs-node over the build that set-up made, for the CPU or for CUDA. */
function startTensorflow(setup: string): NodeBackend {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2'; // what its log says at start is no use here
  const { addonFolder, isReady, tfjsNodeFolder } = build();
  if (!isReady()) throw new Error(`the native engine has not been built (run \`${setup}\`)`);
  const tfjsNode = tfjsNodeFolder();
  const binding = require(`${addonFolder()}/tfjs_binding.node`) as Binding;
  require(`${tfjsNode}/dist/register_all_kernels`);
  const { NodeJSKernelBackend } = require(`${tfjsNode}/dist/nodejs_kernel_backend`);
  tf.registerBackend('tensorflow', () => new NodeJSKernelBackend(binding, '@tensorflow/tfjs-node'), 3);
  if (!tf.setBackend('tensorflow')) throw new Error('TensorFlow did not start');
  return tf.backend() as NodeBackend;
}

function startNative(): BackendInfo {
  native = startTensorflow('npx tunebook setup');
  const { addonFolder, instructionSet } = build();
  addon = require(`${addonFolder()}/tunebook_ops.node`) as Addon;
  replaceExecuteOp((plain) => (...args) => {
    endIfInterrupted();
    try {
      return plain(...args);
    } catch (error) {
      throw plainError(error as Error);
    }
  });
  addon.trim();
  const { threads, bf16, grouped } = addon.describe();
  groupedKinds = new Set(grouped);
  return {
    name: 'tensorflow',
    native: true,
    threads,
    bf16,
    reason: `TensorFlow 2.21 with tunebook's own ops (${instructionSet()}, ${threads} threads)`,
  };
}

/** Backends without our ops, with what has to be done before they can be set. */
const FALLBACKS: Record<string, () => void | Promise<void>> = {
  gpu() {
    const { isUsingGpuDevice } = startTensorflow('TUNEBOOK_BACKEND=gpu npx tunebook setup');
    if (!isUsingGpuDevice)
      throw new Error(
        'TUNEBOOK_BACKEND=gpu: TensorFlow finds no NVIDIA GPU that it can use (does `nvidia-smi` list one?). TF_CPP_MIN_LOG_LEVEL=0 shows what it misses; without TUNEBOOK_BACKEND the CPU is used.',
      );
  },
  webgpu: startWebgpu,
  wasm() {
    const wasm = require('@tensorflow/tfjs-backend-wasm') as { setWasmPaths(folder: string): void };
    wasm.setWasmPaths(require.resolve('@tensorflow/tfjs-backend-wasm').replace(/[^/\\]+$/, ''));
  },
  cpu() {},
};

/** WebGPU outside a browser comes from two packages that most people have no use for: they are not among our dependencies. */
async function startWebgpu(): Promise<void> {
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    const gpu = create([]);
    if (!(await gpu.requestAdapter())) throw new Error('WebGPU finds no graphics adapter on this machine');
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
    require('@tensorflow/tfjs-backend-webgpu');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Error(
      code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND'
        ? 'TUNEBOOK_BACKEND=webgpu needs two more packages: npm install webgpu @tensorflow/tfjs-backend-webgpu'
        : `TUNEBOOK_BACKEND=webgpu: ${message}. Install a Vulkan, Metal or D3D12 driver, or leave TUNEBOOK_BACKEND out.`,
    );
  }
}

/**
 * Starts the engine on first use. TUNEBOOK_BACKEND ('tensorflow', 'gpu', 'webgpu', 'wasm', 'cpu') chooses; by default the native one,
 * and where it cannot be had tfjs's own, with a warning that says why and what that costs.
 */
export async function startBackend(): Promise<BackendInfo> {
  if (info) return info;
  const wanted = process.env.TUNEBOOK_BACKEND || undefined;
  if (wanted && wanted !== 'tensorflow' && !Object.hasOwn(FALLBACKS, wanted))
    throw new OptionError(`TUNEBOOK_BACKEND is ${show(wanted)}; it can be tensorflow, ${Object.keys(FALLBACKS).join(', ')}.`);
  let reason = `TUNEBOOK_BACKEND=${wanted}`;
  if (!wanted || wanted === 'tensorflow') {
    try {
      info = startNative();
      return info;
    } catch (error) {
      reason = (error as Error).message;
      if (wanted) throw error;
    }
  }
  for (const name of wanted ? [wanted] : ['wasm', 'cpu']) {
    await FALLBACKS[name]();
    if (name === 'gpu' || (await tf.setBackend(name).catch(() => false))) {
      info = { name, native: false, bf16: false, reason };
      if (!wanted)
        warnOnce(
          `the native engine is not in use: ${reason}. Running on tfjs's ${name} backend, which takes ${name === 'wasm' ? 'about ten' : 'about sixty'} times as long ` +
            `(${name === 'wasm' ? 'ten minutes' : 'an hour'} for a training step of 2,048 tokens with a 135M model). ` +
            'Run `npx tunebook setup`, or work with a tiny model meanwhile.',
        );
      return info;
    }
  }
  throw new Error(`No tfjs backend could be started (${reason}).`);
}

/** The backend in use and why, after the first model was loaded or `startBackend()` was awaited. */
export function backend(): BackendInfo {
  if (!info) throw new Error('The engine has not started yet: load a model first, or `await startBackend()`.');
  return info;
}

/** Whether decoding has an order of its own for matrices of this kind (native/groups.h). */
export const canBeGrouped = (code: number): boolean => groupedKinds.has(code);

export const isNative = (): boolean => native !== undefined;

/** Whether tensors live in a GPU's memory, where what is unpacked once had better stay. */
export const isOnGpu = (): boolean => info?.name === 'gpu' || info?.name === 'webgpu';

/** A raw native tensor outside tfjs: frozen weights and caches. Freed by `dispose`. */
export class Handle {
  private static live = 0;
  private id: number | undefined;

  private constructor(
    id: number,
    readonly bytes: number,
  ) {
    this.id = id;
    Handle.live += bytes;
  }

  static create(values: Uint8Array | Float32Array | Int32Array, shape: number[] = [values.length]): Handle {
    const { binding } = engine();
    const type = values instanceof Float32Array ? binding.TF_FLOAT : values instanceof Int32Array ? binding.TF_INT32 : binding.TF_UINT8;
    return new Handle(binding.createTensor(shape, type, values), values.byteLength);
  }

  /** Takes over a tensor of so many bytes by TensorFlow's number of it. */
  static holding(id: number, bytes: number): Handle {
    return new Handle(id, bytes);
  }

  /** One that lives as long as the process, and is not counted. */
  static constant(values: Float32Array | Int32Array): Handle {
    const handle = Handle.create(values);
    Handle.live -= handle.bytes;
    return handle;
  }

  /** Bytes in all handles that are alive. */
  static get nativeBytes(): number {
    return Handle.live;
  }

  get tensorId(): number {
    if (this.id === undefined) throw new Error('This native tensor has been disposed.');
    return this.id;
  }

  /** A copy of its bytes. */
  data(): Uint8Array {
    const { TF_UINT8, TF_INT32 } = engine().binding;
    // The binding hands out no bytes, so they travel as whole numbers: four in one where they can.
    if (this.bytes && this.bytes % 4 === 0) {
      const shape = tf.tensor1d([this.bytes / 4, 4], 'int32');
      const rows = executeHandle('Reshape', [this, shape], { T: { type: TF_UINT8 }, Tshape: { type: TF_INT32 } }, this.bytes);
      const [wide] = execute('Bitcast', [rows], { T: { type: TF_UINT8 }, type: { type: TF_INT32 } }, 1);
      const words = wide.dataSync() as Int32Array;
      for (const part of [shape, rows, wide]) part.dispose();
      return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    }
    const [wide] = execute('Cast', [this], { SrcT: { type: TF_UINT8 }, DstT: { type: TF_INT32 } }, 1);
    const bytes = Uint8Array.from(wide.dataSync());
    wide.dispose();
    return bytes;
  }

  dispose(): void {
    if (this.id === undefined) return;
    engine().binding.deleteTensor(this.id);
    this.id = undefined;
    Handle.live -= this.bytes;
  }
}

function engine(): NodeBackend {
  if (!native) throw new Error('The native engine is not in use.');
  return native;
}

/** Puts a wrapper around the function that runs every native op, tfjs's own too; returns what takes it off again. */
export function replaceExecuteOp(wrap: (plain: Binding['executeOp']) => Binding['executeOp']): () => void {
  const backend = engine();
  const plain = backend.binding;
  // Its properties are read-only.
  backend.binding = Object.create(plain, { executeOp: { value: wrap((...args) => plain.executeOp(...args)) } });
  return () => {
    backend.binding = plain;
  };
}

export function nativeAddon(): Addon {
  if (!addon || !native) throw new Error('The native engine is not in use.');
  return addon;
}

/** An attribute of an op: int unless it says float or type (TensorFlow's number of one). */
export type Attributes = Record<string, number | { float: number } | { type: number }>;

function described(attributes: Attributes): object[] {
  const { TF_ATTR_INT, TF_ATTR_TYPE, TF_ATTR_FLOAT } = engine().binding;
  const all: object[] = [];
  for (const name in attributes) {
    const value = attributes[name];
    if (typeof value === 'number') all.push({ name, type: TF_ATTR_INT, value });
    else if ('type' in value) all.push({ name, type: TF_ATTR_TYPE, value: value.type });
    else all.push({ name, type: TF_ATTR_FLOAT, value: value.float });
  }
  return all;
}

/** Runs one of our ops. Inputs are tfjs tensors or raw handles; outputs are tfjs tensors. */
export function execute(
  op: string,
  inputs: (tf.Tensor | Handle)[],
  attributes: Attributes,
  outputs: number,
  more: Attributes = {},
): tf.Tensor[] {
  const { binding } = engine();
  const ids = inputs.map((input) => (input instanceof Handle ? input.tensorId : engine().getInputTensorIds([input])[0]));
  const attrs = [...described(attributes), ...described(more)];
  return binding.executeOp(op, attrs, ids, outputs).map((metadata) => {
    const made = engine().createOutputTensor(metadata);
    ours.add(made.dataId);
    return made;
  });
}

/** Runs one of our ops whose only output is no tensor of tfjs's but `bytes` bytes outside it. */
export function executeHandle(op: string, inputs: (tf.Tensor | Handle)[], attributes: Attributes, bytes: number): Handle {
  const { binding } = engine();
  const ids = inputs.map((input) => (input instanceof Handle ? input.tensorId : engine().getInputTensorIds([input])[0]));
  return Handle.holding(binding.executeOp(op, described(attributes), ids, 1)[0].id, bytes);
}

const ours = new WeakSet<object>();

/**
 * Whether no other tensor has this one's values, so that they may be changed in place. Only outputs of our own ops are known to be
 * memory of their own: TensorFlow's reshape, say, gives its input's.
 */
export const ownsValues = (tensor: tf.Tensor): boolean => ours.has(tensor.dataId) && engine().refCount(tensor.dataId) === 1;

/**
 * Runs the backward pass of one of our ops for the gradients that are asked for, of the inputs whose bits are set in `wanted`; null stands
 * for the others.
 */
export function executeGradients(op: string, inputs: (tf.Tensor | Handle)[], attributes: Attributes, wanted: number): (tf.Tensor | null)[] {
  const places: number[] = [];
  for (let i = 0; wanted >> i; i++) if ((wanted >> i) & 1) places.push(i);
  const gradients: (tf.Tensor | null)[] = Array(32 - Math.clz32(wanted)).fill(null);
  const made = execute(op, inputs, attributes, places.length, { wanted, N: places.length });
  for (const [i, place] of places.entries()) gradients[place] = made[i];
  return gradients;
}

/** A tensor's values, which is disposed then. Backends on a GPU can only be asked so: reading at once would wait for them. */
export async function take(tensor: tf.Tensor): Promise<Float32Array> {
  try {
    return (await tensor.data()) as Float32Array;
  } finally {
    tensor.dispose();
  }
}
