// The kinds of frozen weight matrix, [rows, columns] row by row: one header each, which says how its values stand in memory.
// Kind<code> is known by its number: GGUF's of the type, or one from 1000 on for kinds that GGUF does not have.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <string>

#include "dynamic_map.h"
#include "element.h"

namespace tunebook {

template <int64_t kCode>
struct Kind {
  static constexpr bool kKnown = false;
};

// Single values of kBytes bytes, behind kRowHead bytes of every row. A kind says
//   values(row, from, count, out): values [from, from + count) of a row.
// It may say packRow(x, columns, row), by which rows are packed natively.
template <int kBytesOfOne, int kHead = 0>
struct Values {
  static constexpr bool kKnown = true, kNested = false;
  static constexpr int kBlock = 1, kBytes = kBytesOfOne, kRowHead = kHead;
};

// Blocks of kBlock values (a multiple of 16) along a row in kBytes bytes. A kind says
//   lanes(block, first): values [first, first + kLanes) of a block, first a multiple of kLanes.
// It may say dot(row, x, columns, sums), of one row with x, where that is faster than unpacking; sums[i] is the sum of x over its i-th 32,
// and pack(x, block), by which rows are packed natively.
template <int kValues, int kBytesOfBlock>
struct Blocks {
  static constexpr bool kKnown = true, kNested = false;
  static constexpr int kBlock = kValues, kBytes = kBytesOfBlock, kRowHead = 0;
};

// Blocks that begin with their scale in 8 bits (dynamic_map.h), as double quantisation makes them. Behind the last row, at a multiple
// of 4 bytes, stand an offset and a magnitude for every 256 blocks of the matrix: scale = code's value * magnitude + offset. A kind says
//   lanes(block, first, scale), and pack(x, scale, block), which leaves the scale's code to others.
template <int kValues, int kBytesOfBlock>
struct NestedBlocks : Blocks<kValues, kBytesOfBlock> {
  static constexpr bool kNested = true;
};

inline uint16_t half(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return h;
}

// kLanes bytes, each a number of 32 bits.
inline VecInt bytesAt(const uint8_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<VecInt>(_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return reinterpret_cast<VecInt>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  VecInt v;
  for (int i = 0; i < kLanes; i++) v[i] = p[i];
  return v;
#endif
}

inline VecInt signedBytesAt(const uint8_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<VecInt>(_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return reinterpret_cast<VecInt>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  VecInt v;
  for (int i = 0; i < kLanes; i++) v[i] = static_cast<int8_t>(p[i]);
  return v;
#endif
}

// Fields of kBits bits in rows of kWide bytes: of every kWide * 8 / kBits values, value i + j * kWide stands in byte i from bit j * kBits on.
// kLanes of them from `first` on.
template <int kBits, int kWide>
inline VecInt fieldsAt(const uint8_t* q, int first) {
  constexpr int kRun = kWide * 8 / kBits;
  return (bytesAt(q + first / kRun * kWide + first % kWide) >> (first % kRun / kWide * kBits)) & ((1 << kBits) - 1);
}

inline Vec numbers(VecInt v) { return __builtin_convertvector(v, Vec); }

// Of 16 bytes the low nibbles are values 0-15 and the high nibbles values 16-31: kLanes of them from `first` on, as numbers.
inline Vec nibblesAt(const uint8_t* q, int first) { return numbers(fieldsAt<4, 16>(q, first)); }

// Bits `first` to `first` + kLanes - 1 of 32, one after another.
inline VecInt bitsAt(const uint8_t* q, int first) {
  int32_t all;
  std::memcpy(&all, q, 4);
  VecInt places;
  for (int i = 0; i < kLanes; i++) places[i] = first + i;
  return ((VecInt{} + all) >> places) & 1;
}

// Of 12 bytes the 6 bits of eight scales and eight minimums, the upper two of the last four of each apart from the lower four.
inline int scaleAt(const uint8_t* s, int i) { return i < 4 ? s[i] & 63 : (s[i + 4] & 15) | (s[i - 4] >> 6 << 4); }
inline int minimumAt(const uint8_t* s, int i) { return i < 4 ? s[i + 4] & 63 : (s[i + 4] >> 4) | (s[i] >> 6 << 4); }

}  // namespace tunebook

// The kinds: one line each.
#include "kinds/bf16.h"
#include "kinds/f16.h"
#include "kinds/f32.h"
#include "kinds/four_bit.h"
#include "kinds/int8.h"
#include "kinds/q2_k.h"
#include "kinds/q3_k.h"
#include "kinds/q4_0.h"
#include "kinds/q4_1.h"
#include "kinds/q4_k.h"
#include "kinds/q5_0.h"
#include "kinds/q5_1.h"
#include "kinds/q5_k.h"
#include "kinds/q6_k.h"
#include "kinds/q8_0.h"
