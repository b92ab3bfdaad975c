/** GGUF's types of tensors by number: name, values in a block, bytes of a block. */
export const TENSOR_TYPES: Readonly<Record<number, readonly [name: string, block: number, bytes: number]>> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  30: ['BF16', 1, 2],
};

/** A list of GGUF's bytes stays bytes: as numbers of JavaScript it would take eight times the room. */
export type GgufValue = number | bigint | boolean | string | Uint8Array | Int8Array | GgufValue[];

/** The numbers of the types of metadata. */
export const METADATA = {
  ...{ uint8: 0, int8: 1, uint16: 2, int16: 3, uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 },
  ...{ uint64: 10, int64: 11, float64: 12 },
} as const;
export const [STRING, ARRAY] = [METADATA.string, METADATA.array];

/** Bytes of a value of each type of metadata, at the least. */
export const LEAST_BYTES: Readonly<Record<number, number>> = {
  ...{ 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 10: 8, 11: 8, 12: 8 },
};
