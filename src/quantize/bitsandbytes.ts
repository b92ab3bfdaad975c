import { FileError } from '../core/errors';
import { show } from '../core/options';
import { Weight, type WeightFormat } from '../engine/weights';
import { DYNAMIC_MAP } from './dynamic_map';
import { LEVELS, type NestedStatistics, nestedBytes, statistics } from './four_bit';
import { fp4, fp4_dq, int8, nf4, nf4_dq } from './kinds';
import { f32 } from './plain';

/** A tensor of a file: its bytes, and safetensors' name of their type. */
export interface FileTensor {
  shape: number[];
  type: string;
  bytes: Uint8Array;
}

const BLOCK = 64;
const GROUP = 256;
const STATE = 'quant_state.bitsandbytes__';
const PLAIN = { nf4, fp4 };
const DOUBLE = { nf4: nf4_dq, fp4: fp4_dq };
type Levels = keyof typeof PLAIN;

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.slice().buffer);
const sameValues = (a: Float32Array, b: Float32Array) => a.length === b.length && a.every((value, i) => value === b[i]);

/** Names of what bitsandbytes keeps beside a matrix of this name, behind it or behind its module's. */
export const isBeside = (matrix: string, name: string): boolean =>
  name.startsWith(`${matrix}.`) || name === moduleOf(matrix, 'SCB') || name === moduleOf(matrix, 'weight_format');
const moduleOf = (matrix: string, field: string) => `${matrix.replace(/weight$/, '')}${field}`;

/**
 * A matrix [rows, columns] as bitsandbytes saved it, its bytes as they are: `part` reads a tensor of the file by its whole name. What has
 * other blocks than a kind of ours is unpacked to fp32. undefined: it was not packed.
 */
export async function readPacked(
  matrix: string,
  shape: [rows: number, columns: number],
  names: string[],
  part: (name: string) => Promise<FileTensor>,
): Promise<Weight | undefined> {
  if (names.includes(moduleOf(matrix, 'SCB'))) return readInt8(matrix, shape, await part(matrix), await part(moduleOf(matrix, 'SCB')));
  const state = names.find((name) => name.startsWith(`${matrix}.${STATE}`));
  if (!state) return undefined;
  const beside = async (name: string) => part(`${matrix}.${name}`);
  return readFourBit(matrix, shape, { ...parsed(matrix, (await part(state)).bytes) }, await part(matrix), beside);
}

function readInt8(matrix: string, [rows, columns]: [number, number], { bytes, type }: FileTensor, magnitudes: FileTensor): Weight {
  if (type !== 'I8' || bytes.length !== rows * columns || magnitudes.type !== 'F32' || magnitudes.bytes.length !== rows * 4)
    throw damaged(matrix, `${bytes.length} bytes of ${type} and ${magnitudes.bytes.length / 4} magnitudes are not [${rows}, ${columns}]`);
  checkNumbers(matrix, floatsOf(magnitudes.bytes));
  const packed = new Uint8Array(rows * (columns + 4));
  for (let row = 0; row < rows; row++) {
    packed.set(magnitudes.bytes.subarray(row * 4, (row + 1) * 4), row * (columns + 4));
    packed.set(bytes.subarray(row * columns, (row + 1) * columns), row * (columns + 4) + 4);
  }
  return new Weight(int8, [rows, columns], packed);
}

interface State {
  quant_type: Levels;
  blocksize: number;
  shape: number[];
  nested_blocksize?: number;
  nested_offset?: number;
}

function parsed(matrix: string, bytes: Uint8Array): State {
  let state: State;
  try {
    state = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw damaged(matrix, 'its quant_state is not JSON');
  }
  const { quant_type, blocksize, shape } = state ?? {};
  if (
    !Object.hasOwn(PLAIN, String(quant_type)) ||
    !Number.isSafeInteger(blocksize) ||
    blocksize < 2 ||
    blocksize % 2 ||
    !Array.isArray(shape)
  )
    throw damaged(matrix, `its quant_state is ${show(state)}`);
  return state;
}

async function readFourBit(
  matrix: string,
  [rows, columns]: [number, number],
  state: State,
  { bytes: nibbles }: FileTensor,
  beside: (name: string) => Promise<FileTensor>,
): Promise<Weight> {
  const { quant_type: kind, blocksize } = state;
  const count = rows * columns;
  const blocks = Math.ceil(count / blocksize);
  if (state.shape.join() !== [rows, columns].join())
    throw new FileError(`Tensor ${matrix} is packed of [${state.shape}], but config.json asks for [${[rows, columns]}].`);
  if (nibbles.length < Math.ceil(count / 2)) throw damaged(matrix, `${nibbles.length} bytes are too few for ${count} values`);
  if (!sameValues(floatsOf((await beside('quant_map')).bytes), LEVELS[kind]))
    throw damaged(matrix, `its 16 levels are not those of ${kind}`);
  const absmax = await beside('absmax');
  if (state.nested_blocksize === undefined) {
    if (absmax.type !== 'F32' || absmax.bytes.length !== blocks * 4) throw damaged(matrix, `it has other than ${blocks} scales in F32`);
    return withScales(matrix, kind, [rows, columns], blocksize, nibbles, floatsOf(absmax.bytes));
  }
  const magnitudes = floatsOf((await beside('nested_absmax')).bytes);
  const { nested_offset: offset, nested_blocksize: group } = state;
  if (absmax.bytes.length !== blocks || magnitudes.length !== Math.ceil(blocks / group) || typeof offset !== 'number')
    throw damaged(matrix, `${absmax.bytes.length} scales in 8 bits with ${magnitudes.length} magnitudes are not those of ${blocks} blocks`);
  if (!sameValues(floatsOf((await beside('nested_quant_map')).bytes), DYNAMIC_MAP))
    throw damaged(matrix, 'its nested_quant_map is another');
  checkNumbers(matrix, magnitudes);
  if (blocksize === BLOCK && group === GROUP && columns % BLOCK === 0) {
    const at = (b: number) => nibbles.subarray((b * BLOCK) / 2, ((b + 1) * BLOCK) / 2);
    return new Weight(DOUBLE[kind], [rows, columns], nestedBytes({ codes: absmax.bytes, magnitudes, offset, nibbles: at }));
  }
  const scales = Float32Array.from(absmax.bytes, (code, b) => Math.fround(DYNAMIC_MAP[code] * magnitudes[Math.floor(b / group)]) + offset);
  return withScales(matrix, kind, [rows, columns], blocksize, nibbles, scales);
}

/** A matrix of nibbles and fp32 scales, one for `blocksize` values of the matrix as one row. */
function withScales(
  matrix: string,
  kind: Levels,
  shape: [rows: number, columns: number],
  blocksize: number,
  nibbles: Uint8Array,
  scales: Float32Array,
): Weight {
  checkNumbers(matrix, scales);
  const [rows, columns] = shape;
  const count = rows * columns;
  if (columns % BLOCK || blocksize % BLOCK) {
    const levels = LEVELS[kind];
    const value = (i: number) => levels[i % 2 ? nibbles[i >> 1] & 15 : nibbles[i >> 1] >> 4] * scales[Math.floor(i / blocksize)];
    return new Weight(f32, shape, bytesOf(Float32Array.from({ length: count }, (_, i) => value(i))));
  }
  const bytes = BLOCK / 2;
  const packed = new Uint8Array((count / BLOCK) * (4 + bytes));
  const view = new DataView(packed.buffer);
  for (let b = 0, at = 0; b < count / BLOCK; b++, at += 4 + bytes) {
    view.setFloat32(at, scales[Math.floor((b * BLOCK) / blocksize)], true);
    packed.set(nibbles.subarray(b * bytes, (b + 1) * bytes), at + 4);
  }
  return new Weight(PLAIN[kind], shape, packed);
}

const damaged = (matrix: string, why: string) =>
  new FileError(`The packed tensor ${matrix} is damaged: ${why}. Get the file again, or load the model's 16-bit files.`);

function checkNumbers(matrix: string, numbers: Float32Array): void {
  if (!numbers.every(Number.isFinite)) throw damaged(matrix, 'its scales are no numbers');
}

/** What of a 4-bit format says how it is saved; undefined of others. */
export function fourBitOf(format: WeightFormat): { levels: Levels; double: boolean } | undefined {
  for (const levels of ['nf4', 'fp4'] as const)
    for (const double of [false, true]) if (format === (double ? DOUBLE : PLAIN)[levels]) return { levels, double };
  return undefined;
}

/** Whether bitsandbytes can say how it is packed. */
export const isPacked = ({ format }: Weight): boolean => format === int8 || fourBitOf(format) !== undefined;

const SAVED = { uint8: ['U8', 1], float16: ['F16', 2], bfloat16: ['BF16', 2], float32: ['F32', 4] } as const;

/**
 * The tensors as which bitsandbytes saves a packed matrix, by their names. `storage`: the type that its nibbles are called; `dtype`: what
 * it was packed from, to which it is unpacked there.
 */
export function packedTensors(matrix: string, weight: Weight, { storage = 'uint8', dtype = 'float32' } = {}): Map<string, FileTensor> {
  const [rows, columns] = weight.shape;
  const bytes = weight.packed();
  const found = fourBitOf(weight.format);
  if (!found) return int8Tensors(matrix, bytes, rows, columns);
  const { levels, double } = found;
  const count = rows * columns;
  const blocks = count / BLOCK;
  const stride = weight.format.blockBytes;
  const nibbles = new Uint8Array(count / 2);
  for (let b = 0; b < blocks; b++) nibbles.set(bytes.subarray((b + 1) * stride - 32, (b + 1) * stride), b * 32);
  const { type, size } = { type: SAVED[storage as keyof typeof SAVED][0], size: SAVED[storage as keyof typeof SAVED][1] };
  const tensors = new Map<string, FileTensor>([[matrix, { shape: [nibbles.length / size, 1], type, bytes: nibbles }]]);
  const add = (name: string, values: Float32Array | Uint8Array) =>
    tensors.set(`${matrix}.${name}`, {
      shape: [values.length],
      type: values instanceof Float32Array ? 'F32' : 'U8',
      bytes: values instanceof Float32Array ? bytesOf(values) : values,
    });
  const state: Record<string, unknown> = { quant_type: levels, blocksize: BLOCK, dtype, shape: [rows, columns] };
  if (double) {
    const { codes, magnitudes, offset }: NestedStatistics = statistics(bytes, count);
    add('absmax', codes);
    add('nested_absmax', magnitudes);
    add('nested_quant_map', DYNAMIC_MAP);
    Object.assign(state, { nested_blocksize: GROUP, nested_dtype: 'float32', nested_offset: offset });
  } else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    add(
      'absmax',
      Float32Array.from({ length: blocks }, (_, b) => view.getFloat32(b * stride, true)),
    );
  }
  add('quant_map', LEVELS[levels]);
  add(STATE + levels, new Uint8Array(Buffer.from(pythonJson(state))));
  return tensors;
}

function int8Tensors(matrix: string, bytes: Uint8Array, rows: number, columns: number): Map<string, FileTensor> {
  const [values, magnitudes] = [new Uint8Array(rows * columns), new Uint8Array(rows * 4)];
  for (let row = 0; row < rows; row++) {
    const at = row * (columns + 4);
    magnitudes.set(bytes.subarray(at, at + 4), row * 4);
    values.set(bytes.subarray(at + 4, at + 4 + columns), row * columns);
  }
  return new Map<string, FileTensor>([
    [matrix, { shape: [rows, columns], type: 'I8', bytes: values }],
    [moduleOf(matrix, 'SCB'), { shape: [rows], type: 'F32', bytes: magnitudes }],
    [moduleOf(matrix, 'weight_format'), { shape: [], type: 'U8', bytes: new Uint8Array(1) }],
  ]);
}

/** As Python's json.dumps writes it: with a space behind colons and commas. */
const pythonJson = (state: Record<string, unknown>): string =>
  `{${Object.entries(state)
    .map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value).replaceAll(',', ', ')}`)
    .join(', ')}}`;
