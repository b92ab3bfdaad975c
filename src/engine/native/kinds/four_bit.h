// bitsandbytes' NF4 and FP4: 64 values along a row, their fp32 scale before them, the first of two in the high nibble.
// value = table[nibble] * scale.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <class Table>
struct FourBit : Blocks<64, 36> {
  static Vec lanes(const uint8_t* block, int first) {
    float scale;
    std::memcpy(&scale, block, 4);
    const uint8_t* q = block + 4 + first / 2;
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
};

struct NormalFloats {
  static constexpr float kValues[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                                        -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                                        0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                                        0.7229568362236023f, 1.0f};
};

struct Floats {
  static constexpr float kValues[16] = {0.0f, 0.0052083335f, 0.66666669f, 1.0f, 0.33333334f, 0.5f, 0.16666667f, 0.25f,
                                        -0.0f, -0.0052083335f, -0.66666669f, -1.0f, -0.33333334f, -0.5f, -0.16666667f, -0.25f};
};

template <>
struct Kind<1000> : FourBit<NormalFloats> {};
template <>
struct Kind<1001> : FourBit<Floats> {};

}  // namespace tunebook
