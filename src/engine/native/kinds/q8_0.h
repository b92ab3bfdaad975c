// GGUF's Q8_0: an fp16 scale, then 32 signed bytes.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<8> : Blocks<32, 34> {
  static Vec lanes(const uint8_t* block, int first) {
    return numbers(signedBytesAt(block + 2 + first)) * halfToFloat(half(block));
  }
#if defined(__AVX2__)
  static float dot(const uint8_t* row, const float* x, long columns, const float*) {
    __m256 total = _mm256_setzero_ps();
    for (long b = 0; b < columns / 32; b++, row += 34, x += 32) {
      __m256 s = _mm256_setzero_ps();
      for (int i = 0; i < 32; i += 8)
        s = _mm256_fmadd_ps(
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 2 + i)))),
            _mm256_loadu_ps(x + i), s);
      total = _mm256_fmadd_ps(s, _mm256_set1_ps(halfToFloat(half(row))), total);
    }
    float parts[8], result = 0;
    _mm256_storeu_ps(parts, total);
    for (float part : parts) result += part;
    return result;
  }
#endif
};

}  // namespace tunebook
