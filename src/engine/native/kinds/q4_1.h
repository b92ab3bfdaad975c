// GGUF's Q4_1: an fp16 scale d and an fp16 minimum m, then 32 values in nibbles. value = d * nibble + m.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<3> : Blocks<32, 20> {
  static Vec lanes(const uint8_t* block, int first) {
    return nibblesAt(block + 4, first) * halfToFloat(half(block)) + halfToFloat(half(block + 2));
  }
#if defined(__AVX2__)
  static float dot(const uint8_t* row, const float* x, long columns, const float* sums) {
    __m256 total = _mm256_setzero_ps();
    float minimums = 0;
    const __m256i mask = _mm256_set1_epi32(15);
    for (long b = 0; b < columns / 32; b++, row += 20, x += 32) {
      const __m256i q0 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 4)));
      const __m256i q1 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 12)));
      __m256 s = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_and_si256(q0, mask)), _mm256_loadu_ps(x));
      __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_and_si256(q1, mask)), _mm256_loadu_ps(x + 8));
      s = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(q0, 4)), _mm256_loadu_ps(x + 16), s);
      t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(q1, 4)), _mm256_loadu_ps(x + 24), t);
      total = _mm256_fmadd_ps(_mm256_add_ps(s, t), _mm256_set1_ps(halfToFloat(half(row))), total);
      minimums += halfToFloat(half(row + 2)) * sums[b];
    }
    float parts[8];
    _mm256_storeu_ps(parts, total);
    for (float part : parts) minimums += part;
    return minimums;
  }
#endif
};

}  // namespace tunebook
