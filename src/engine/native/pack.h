// Rows of a matrix of one kind packed as another, and scales of double quantisation: what a model's weights go through on their way from
// a file to memory, some rows at a time.
#pragma once
#include "element.h"
#include "many.h"
#include "weight.h"

namespace tunebook {

template <class K, class = void>
struct PacksRows : std::false_type {};
template <class K>
struct PacksRows<K, std::void_t<decltype(&K::packRow)>> : std::true_type {};
template <class K, class = void>
struct PacksBlocks : std::false_type {};
template <class K>
struct PacksBlocks<K, std::void_t<decltype(&K::pack)>> : std::true_type {};

// TensorFlow has numbers near 0 taken for 0 while an op runs; what is packed is what they are.
struct ExactZeros {
#if defined(__SSE__)
  const unsigned before = _mm_getcsr();
  ExactZeros() { _mm_setcsr(before & ~0x8040u); }
  ~ExactZeros() { _mm_setcsr(before); }
#else
  ExactZeros() {}
#endif
};

// One row of `columns` values to `row`; the scales of its blocks, where they are nested, to `scales`.
template <class K>
inline void packRow(const float* x, long columns, uint8_t* row, [[maybe_unused]] float* scales) {
  if constexpr (PacksRows<K>::value) K::packRow(x, columns, row);
  else if constexpr (PacksBlocks<K>::value) {
    for (long k = 0; k < columns; k += K::kBlock, row += K::kBytes)
      if constexpr (K::kNested) K::pack(x + k, *scales++, row);
      else K::pack(x + k, row);
  } else throw std::invalid_argument("this kind of weight is not packed natively");
}

// The rows of `from` as rows from `first` on of a matrix of another kind at `to`.
inline void packRows(const Weight& from, int64_t kind, long first, uint8_t* to, float* scales) {
  withKind(kind, [&](auto k) {
    using K = decltype(k);
    const size_t bytes = rowBytesOf<K>(from.columns);
    constexpr long few = 8;
    parallelFor(static_cast<int>((from.rows + few - 1) / few), [&](int task, int) {
      const ExactZeros exact;
      float* x = scratch(0, from.columns);
      for (long n = task * few; n < std::min(from.rows, (task + 1) * few); n++) {
        unpack(from, n, 0, from.columns, x);
        packRow<K>(x, from.columns, to + (first + n) * bytes, scales + (first + n) * (from.columns / K::kBlock));
      }
    });
  });
}

// As torch sums floats: eight lanes of four sums, each of four levels. bitsandbytes' offset is such a sum's mean.
template <int kWidth>
inline float sumAsTorch(const float* x, long size) {
  const long vectors = size / kWidth, steps = vectors / 4;
  int power = 4;
  for (long length = 1 << 19; length < steps; length <<= 4) power++;
  const long step = 1L << power;
  float levels[4][4 * kWidth] = {};
  const auto add = [&](float* to, const float* from) {
    for (int i = 0; i < 4 * kWidth; i++) to[i] += from[i];
  };
  long at = 0;
  while (at + step <= steps) {
    for (long j = 0; j < step; j++, at++) add(levels[0], x + at * 4 * kWidth);
    for (int level = 1; level < 4; level++) {
      add(levels[level], levels[level - 1]);
      std::fill(levels[level - 1], levels[level - 1] + 4 * kWidth, 0.0f);
      if (at & ((step - 1) << level * power)) break;
    }
  }
  for (; at < steps; at++) add(levels[0], x + at * 4 * kWidth);
  for (int level = 1; level < 4; level++) add(levels[0], levels[level]);
  float* sums = levels[0];
  for (long v = steps * 4; v < vectors; v++)
    for (int i = 0; i < kWidth; i++) sums[i] += x[v * kWidth + i];
  for (int part = 1; part < 4; part++)
    for (int i = 0; i < kWidth; i++) sums[i] += sums[part * kWidth + i];
  float total = 0;
  for (long i = vectors * kWidth; i < size; i++) total += x[i];
  for (int i = 0; i < kWidth; i++) total += sums[i];
  return total;
}

// bitsandbytes looks the code of a number in [-1, 1] up in 65,536 steps: near the middle of two values it may be the second nearest.
struct DynamicCodes {
  uint8_t codes[65536];
  DynamicCodes() {
    int code = 0;
    for (int i = 0; i < 65536; i++) {
      const float value = -1.0f + 2.0f * i / 65535;
      while (code < 255 && 0.5f * (kSignedMap.values[code] + kSignedMap.values[code + 1]) < value) code++;
      codes[i] = code;
    }
  }
  uint8_t operator()(float x) const {
    x = std::min(1.0f, std::max(-1.0f, x)) + 1.0f;
    return codes[static_cast<int>(x * 0.5f * 65535 + 0.5f)];
  }
};

// Gives the blocks of a packed matrix the codes of their scales, and writes what stands behind its rows.
template <class K>
inline void nestScales(uint8_t* matrix, const float* scales, long rows, long columns) {
  static const DynamicCodes codeOf;
  const ExactZeros exact;
  const long blocks = rows * columns / K::kBlock;
  float* numbers = reinterpret_cast<float*>(matrix + Weight::wholeWords(rows * rowBytesOf<K>(columns)));
  const float offset = (blocks < 8 ? sumAsTorch<1>(scales, blocks) : sumAsTorch<8>(scales, blocks)) / blocks;
  numbers[0] = offset;
  parallelFor(static_cast<int>((blocks + 255) / 256), [&](int group, int) {
    const ExactZeros exact;
    const long from = group * 256L, to = std::min(blocks, from + 256);
    float largest = 0;
    for (long b = from; b < to; b++) largest = std::max(largest, std::fabs(scales[b] - offset));
    numbers[1 + group] = largest;
    const float inverse = largest ? 1 / largest : 0;
    for (long b = from; b < to; b++) {
      float x = scales[b] - offset;
      pin(x);
      matrix[b * K::kBytes] = largest ? codeOf(x * inverse) : 0;
    }
  });
}

}  // namespace tunebook
