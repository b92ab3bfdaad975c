// bitsandbytes' NF4 and FP4: 64 values along a row, their scale before them, the first of two in the high nibble: an fp32 number, or
// with double quantisation a code of 8 bits. value = table[nibble] * scale.
#pragma once
#include "../kinds.h"

namespace tunebook {

// kLanes values whose nibbles begin at q.
template <class Table>
inline Vec fourBitLanes(const uint8_t* q, float scale) {
#if defined(__AVX512F__)
  const VecInt shifts = {4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24};
  int32_t words[2];
  std::memcpy(words, q, 8);
  const __m512i both = _mm512_maskz_inserti64x4(0xff, _mm512_set1_epi32(words[0]), _mm256_set1_epi32(words[1]), 1);
  const VecInt codes = reinterpret_cast<VecInt>(both) >> shifts;  // of their bits the lookup sees four
  const __m512 values = _mm512_loadu_ps(Table::kValues);
  return reinterpret_cast<Vec>(_mm512_mul_ps(_mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(codes), values), _mm512_set1_ps(scale)));
#elif defined(__AVX2__)
  const __m256 low = _mm256_loadu_ps(Table::kValues), high = _mm256_loadu_ps(Table::kValues + 8);
  const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24), mask = _mm256_set1_epi32(15);
  int32_t word;
  std::memcpy(&word, q, 4);
  const __m256i codes = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(word), shifts), mask);
  const __m256 below = _mm256_permutevar8x32_ps(low, codes), above = _mm256_permutevar8x32_ps(high, codes);
  const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));  // bit 3 as the sign
  return reinterpret_cast<Vec>(_mm256_mul_ps(_mm256_blendv_ps(below, above, upper), _mm256_set1_ps(scale)));
#else
  Vec v;
  for (int i = 0; i < kLanes; i += 2) {
    v[i] = Table::kValues[q[i / 2] >> 4] * scale;
    v[i + 1] = Table::kValues[q[i / 2] & 15] * scale;
  }
  return v;
#endif
}

// 64 values as nibbles, their largest magnitude in `scale`. A value is multiplied by the inverse, not divided, and on the middle between
// two codes it takes the lower one: bitsandbytes' rounding.
template <class Table>
inline void packFourBit(const float* x, float& scale, uint8_t* q) {
  scale = 0;
  for (int i = 0; i < 64; i++) scale = std::max(scale, std::fabs(x[i]));
  constexpr float least = 1e-38f;
  const float inverse = scale > least ? 1 / scale : 1 / least;
  int32_t ranks[64];
  for (int i = 0; i < 64; i += kLanes) {
    const Vec scaled = clamp(load(x + i) * inverse, -1, 1);
    VecInt rank{};
    for (int c = 0; c < 15; c++) rank -= scaled > splat((Table::kValues[Table::kOrder[c]] + Table::kValues[Table::kOrder[c + 1]]) / 2);
    std::memcpy(ranks + i, &rank, sizeof rank);
  }
  for (int i = 0; i < 32; i++) q[i] = Table::kOrder[ranks[2 * i]] << 4 | Table::kOrder[ranks[2 * i + 1]];
}

template <class Table>
struct FourBit : Blocks<64, 36> {
  static void pack(const float* x, uint8_t* block) {
    float scale;
    packFourBit<Table>(x, scale, block + 4);
    std::memcpy(block, &scale, 4);
  }
  static Vec lanes(const uint8_t* block, int first) {
    float scale;
    std::memcpy(&scale, block, 4);
    return fourBitLanes<Table>(block + 4 + first / 2, scale);
  }
};

template <class Table>
struct NestedFourBit : NestedBlocks<64, 33> {
  // Its scale becomes a code when those of the whole matrix are known.
  static void pack(const float* x, float& scale, uint8_t* block) { packFourBit<Table>(x, scale, block + 1); }
  static Vec lanes(const uint8_t* block, int first, float scale) { return fourBitLanes<Table>(block + 1 + first / 2, scale); }
};

// Codes in the order of their values are what NF4's numbers are; those of FP4 are not.
struct NormalFloats {
  static constexpr uint8_t kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  static constexpr float kValues[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                                        -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                                        0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                                        0.7229568362236023f, 1.0f};
};

struct Floats {
  static constexpr uint8_t kOrder[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
  static constexpr float kValues[16] = {0.0f, 0.0052083335f, 0.66666669f, 1.0f, 0.33333334f, 0.5f, 0.16666667f, 0.25f,
                                        -0.0f, -0.0052083335f, -0.66666669f, -1.0f, -0.33333334f, -0.5f, -0.16666667f, -0.25f};
};

template <>
struct Kind<1000> : FourBit<NormalFloats> {};
template <>
struct Kind<1001> : FourBit<Floats> {};
template <>
struct Kind<1003> : NestedFourBit<NormalFloats> {};
template <>
struct Kind<1004> : NestedFourBit<Floats> {};

}  // namespace tunebook
