/**
 * bitsandbytes' 256 values for signed numbers of 8 bits (Dettmers et al., 2022, https://arxiv.org/abs/2110.02861), ascending, rounded as
 * torch makes them. The native ops have them in native/dynamic_map.h.
 */
export const DYNAMIC_MAP = (() => {
  const { fround } = Math;
  const values = [0, 1];
  for (let i = 0; i < 7; i++) {
    const steps = 2 ** i;
    const step = fround(fround(1 - fround(0.1)) / steps);
    // As torch.linspace: from the nearer end, rounded once.
    const edge = (k: number) => (k < (steps + 1) / 2 ? fround(fround(0.1) + step * k) : fround(1 - step * (steps - k)));
    for (let k = 0; k < steps; k++) {
      const value = fround(fround(10 ** (i - 6)) * fround(fround(edge(k) + edge(k + 1)) / 2));
      values.push(value, -value);
    }
  }
  return Float32Array.from(values).sort();
})();

/**
 * The code of a number in [-1, 1]. bitsandbytes looks it up in 65,536 steps, so that near the middle of two values it may be the second
 * nearest: this is its table.
 */
const CODES = (() => {
  const codes = new Uint8Array(65536);
  const middles = Float32Array.from({ length: 255 }, (_, i) => 0.5 * Math.fround(DYNAMIC_MAP[i] + DYNAMIC_MAP[i + 1]));
  let code = 0;
  for (let i = 0; i < codes.length; i++) {
    const value = Math.fround(-1 + Math.fround((2 * i) / 65535));
    while (code < 255 && middles[code] < value) code++;
    codes[i] = code;
  }
  return codes;
})();

export function dynamicCode(x: number): number {
  const { fround } = Math;
  const place = fround(fround(fround(Math.min(1, Math.max(-1, x)) + 1) * 0.5) * 65535);
  return CODES[Math.trunc(fround(place + 0.5))];
}

/** The sum of fp32 numbers in torch's order: eight lanes of four sums, each of four levels. bitsandbytes' offset is such a sum's mean. */
export function sumAsTorch(x: Float32Array): number {
  const width = x.length < 8 ? 1 : 8;
  const [vectors, wide] = [Math.floor(x.length / width), 4 * width];
  const steps = Math.floor(vectors / 4);
  const power = Math.max(4, Math.floor(Math.ceil(Math.log2(steps || 1)) / 4));
  const levels = Array.from({ length: 4 }, () => new Float32Array(wide));
  const add = (to: Float32Array, from: Float32Array, at = 0) => {
    for (let i = 0; i < wide; i++) to[i] += from[at + i];
  };
  let at = 0;
  while (at + 2 ** power <= steps) {
    for (let j = 0; j < 2 ** power; j++, at++) add(levels[0], x, at * wide);
    for (let level = 1; level < 4; level++) {
      add(levels[level], levels[level - 1]);
      levels[level - 1].fill(0);
      if (Math.floor(at / 2 ** (level * power)) % 2 ** power) break;
    }
  }
  for (; at < steps; at++) add(levels[0], x, at * wide);
  const [sums] = levels;
  for (const level of levels.slice(1)) add(sums, level);
  for (let v = steps * 4; v < vectors; v++) for (let i = 0; i < width; i++) sums[i] += x[v * width + i];
  for (let i = width; i < wide; i++) sums[i % width] += sums[i];
  let total = 0;
  for (let i = vectors * width; i < x.length; i++) total = Math.fround(total + x[i]);
  for (let i = 0; i < width; i++) total = Math.fround(total + sums[i]);
  return total;
}
