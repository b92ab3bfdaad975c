// The kinds of frozen weight matrix, [rows, columns] row by row, and how a run of one row becomes fp32.
// The block formats are GGUF's: 32 values along a row with an fp16 scale (and minimum) before them.
#pragma once
#include <stdexcept>
#include <string>

#include "simd.h"

namespace tunebook {

enum class Kind : int64_t { kF32 = 0, kF16 = 1, kQ4_1 = 3, kQ8_0 = 8, kBF16 = 30 };  // the numbers are GGUF's types

struct Weight {
  const uint8_t* data;
  Kind kind;
  long rows, columns;

  static size_t rowBytes(Kind kind, long columns) {
    switch (kind) {
      case Kind::kF32: return columns * 4;
      case Kind::kF16: case Kind::kBF16: return columns * 2;
      case Kind::kQ4_1: return columns / 32 * 20;
      case Kind::kQ8_0: return columns / 32 * 34;
    }
    throw std::invalid_argument("unknown kind of weight: " + std::to_string(static_cast<int64_t>(kind)));
  }
  const uint8_t* row(long n) const { return data + n * rowBytes(kind, columns); }
};

inline uint16_t half(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return h;
}

// One block of 32 values to fp32.
inline void unpackQ4_1(const uint8_t* block, float* out) {
  const float d = halfToFloat(half(block)), m = halfToFloat(half(block + 2));
  const uint8_t* q = block + 4;
#if defined(__AVX2__)
  const __m256 scale = _mm256_set1_ps(d), minimum = _mm256_set1_ps(m);
  const __m256i mask = _mm256_set1_epi32(15);
  for (int i = 0; i < 16; i += 8) {
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + i)));
    _mm256_storeu_ps(out + i, _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_and_si256(bytes, mask)), scale, minimum));
    _mm256_storeu_ps(out + 16 + i, _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(bytes, 4)), scale, minimum));
  }
#else
  for (int i = 0; i < 16; i++) {
    out[i] = (q[i] & 15) * d + m;
    out[16 + i] = (q[i] >> 4) * d + m;
  }
#endif
}

// Half a block: its low nibbles are values 0-15, its high nibbles values 16-31.
inline void unpackHalfQ4_1(const uint8_t* block, int shift, float* out) {
  const float d = halfToFloat(half(block)), m = halfToFloat(half(block + 2));
  const uint8_t* q = block + 4;
#if defined(__AVX2__)
  const __m256 scale = _mm256_set1_ps(d), minimum = _mm256_set1_ps(m);
  const __m256i mask = _mm256_set1_epi32(15);
  for (int i = 0; i < 16; i += 8) {
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + i)));
    const __m256i nibbles = _mm256_and_si256(_mm256_srl_epi32(bytes, _mm_cvtsi32_si128(shift)), mask);
    _mm256_storeu_ps(out + i, _mm256_fmadd_ps(_mm256_cvtepi32_ps(nibbles), scale, minimum));
  }
#else
  for (int i = 0; i < 16; i++) out[i] = ((q[i] >> shift) & 15) * d + m;
#endif
}

inline void unpackQ8_0(const uint8_t* block, float* out) {
  const float d = halfToFloat(half(block));
  const int8_t* q = reinterpret_cast<const int8_t*>(block + 2);
  for (int i = 0; i < 32; i++) out[i] = q[i] * d;
}

// Values [from, from + count) of row n.
inline void unpack(const Weight& w, long n, long from, int count, float* out) {
  const uint8_t* row = w.row(n);
  switch (w.kind) {
    case Kind::kF32:
      std::memcpy(out, row + from * 4, count * 4);
      return;
    case Kind::kF16:
      for (int i = 0; i < count; i++) out[i] = halfToFloat(half(row + (from + i) * 2));
      return;
    case Kind::kBF16:
      for (int i = 0; i < count; i++) {
        const uint32_t bits = static_cast<uint32_t>(half(row + (from + i) * 2)) << 16;
        std::memcpy(out + i, &bits, 4);
      }
      return;
    case Kind::kQ4_1: case Kind::kQ8_0: {
      const int bytes = w.kind == Kind::kQ4_1 ? 20 : 34;
      float block[32];
      for (int done = 0; done < count;) {
        const int offset = (from + done) % 32, length = std::min(32 - offset, count - done);
        const uint8_t* source = row + (from + done) / 32 * bytes;
        if (w.kind == Kind::kQ4_1 && offset % 16 == 0 && length == 16) {
          unpackHalfQ4_1(source, offset / 4, out + done);  // 0 or 4 bits down
          done += 16;
          continue;
        }
        float* target = length == 32 ? out + done : block;
        w.kind == Kind::kQ4_1 ? unpackQ4_1(source, target) : unpackQ8_0(source, target);
        if (target == block) std::memcpy(out + done, block + offset, length * 4);
        done += length;
      }
      return;
    }
  }
}

// Dot product of row n with x; blockSums[i] is the sum of x over block i (used by kinds that have a minimum).
inline float dotRow(const Weight& w, long n, const float* x, const float* blockSums) {
  const uint8_t* row = w.row(n);
  if (w.kind == Kind::kF32) return dot(reinterpret_cast<const float*>(row), x, w.columns);
#if defined(__AVX2__)
  const int blocks = w.columns / 32;
  if (w.kind == Kind::kQ4_1) {
    __m256 total = _mm256_setzero_ps();
    float minimums = 0;
    const __m256i mask = _mm256_set1_epi32(15);
    for (int b = 0; b < blocks; b++, row += 20, x += 32) {
      const __m256i q0 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 4)));
      const __m256i q1 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 12)));
      __m256 s = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_and_si256(q0, mask)), _mm256_loadu_ps(x));
      __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_and_si256(q1, mask)), _mm256_loadu_ps(x + 8));
      s = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(q0, 4)), _mm256_loadu_ps(x + 16), s);
      t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(q1, 4)), _mm256_loadu_ps(x + 24), t);
      total = _mm256_fmadd_ps(_mm256_add_ps(s, t), _mm256_set1_ps(halfToFloat(half(row))), total);
      minimums += halfToFloat(half(row + 2)) * blockSums[b];
    }
    float parts[8];
    _mm256_storeu_ps(parts, total);
    for (float part : parts) minimums += part;
    return minimums;
  }
  if (w.kind == Kind::kQ8_0) {
    __m256 total = _mm256_setzero_ps();
    for (int b = 0; b < blocks; b++, row += 34, x += 32) {
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
#else
  (void)blockSums;
#endif
  float total = 0, run[64];
  for (long k = 0; k < w.columns; k += 64) {
    const int count = std::min<long>(64, w.columns - k);
    unpack(w, n, k, count, run);
    total += dot(run, x + k, count);
  }
  return total;
}

}  // namespace tunebook
