// The kinds of frozen weight matrix, [rows, columns] row by row: one header each, which says how its values stand in memory.
// Kind<code> is known by its number: GGUF's of the type, or one from 1000 on for kinds that GGUF does not have.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <string>

#include "simd.h"

namespace tunebook {

template <int64_t kCode>
struct Kind {
  static constexpr bool kKnown = false;
};

// Single values of kBytes bytes, behind kRowHead bytes of every row. A kind says
//   values(row, from, count, out): values [from, from + count) of a row.
template <int kBytesOfOne, int kHead = 0>
struct Values {
  static constexpr bool kKnown = true;
  static constexpr int kBlock = 1, kBytes = kBytesOfOne, kRowHead = kHead;
};

// Blocks of kBlock values (a multiple of 16) along a row in kBytes bytes. A kind says
//   lanes(block, first): values [first, first + kLanes) of a block, first a multiple of kLanes.
// It may say dot(row, x, columns, sums), of one row with x, where that is faster than unpacking; sums[i] is the sum of x over its i-th 32.
template <int kValues, int kBytesOfBlock>
struct Blocks {
  static constexpr bool kKnown = true;
  static constexpr int kBlock = kValues, kBytes = kBytesOfBlock, kRowHead = 0;
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

// Of 16 bytes the low nibbles are values 0-15 and the high nibbles values 16-31: kLanes of them from `first` on, as numbers.
inline Vec nibblesAt(const uint8_t* q, int first) { return __builtin_convertvector((bytesAt(q + first % 16) >> (first / 16 * 4)) & 15, Vec); }

}  // namespace tunebook

// The kinds: one line each.
#include "kinds/bf16.h"
#include "kinds/f16.h"
#include "kinds/f32.h"
#include "kinds/four_bit.h"
#include "kinds/int8.h"
#include "kinds/q4_0.h"
#include "kinds/q4_1.h"
#include "kinds/q8_0.h"
