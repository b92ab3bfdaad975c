import { roundToEven } from '../engine/ops/int8_inputs';
import type { WeightFormat } from '../engine/weights';
import { floatToHalf, halfToFloat } from '../formats/floats';

/**
 * LLM.int8()'s weights (Dettmers et al., 2022, https://arxiv.org/abs/2208.07339): every row's largest magnitude in fp32, then
 * a signed byte a value. value = byte * magnitude / 127. As in bitsandbytes they are made of values in half precision, and outside of
 * training what is multiplied with them is in 8 bits too (`int8Inputs`).
 */
export const int8: WeightFormat = {
  name: 'INT8',
  code: 1002,
  block: 1,
  blockBytes: 1,
  rowHead: 4,
  native: true,
  decode(bytes, count, columns = count) {
    const out = new Float32Array(count);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let row = 0, at = 0; row < count; row += columns, at += columns + 4) {
      const scale = Math.fround(view.getFloat32(at, true) / 127);
      for (let i = 0; i < columns; i++) out[row + i] = scale * ((bytes[at + 4 + i] << 24) >> 24);
    }
    return out;
  },
  encode(values, columns) {
    const bytes = new Uint8Array((values.length / columns) * (columns + 4));
    const view = new DataView(bytes.buffer);
    const halves = values.map((value) => halfToFloat(floatToHalf(value)));
    for (let row = 0, at = 0; row < values.length; row += columns, at += columns + 4) {
      let scale = 0;
      for (let i = row; i < row + columns; i++) scale = Math.max(scale, Math.abs(halves[i]));
      view.setFloat32(at, scale, true);
      // In the order and precision of bitsandbytes: where a value falls between two bytes, rounding decides.
      const factor = Math.fround(Math.fround(1 / scale) * 127);
      for (let i = 0; i < columns; i++) bytes[at + 4 + i] = scale ? roundToEven(Math.fround(halves[row + i] * factor)) : 0;
    }
    return bytes;
  },
};
