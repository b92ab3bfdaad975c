// The kinds of frozen weight matrix, [rows, columns] row by row, and how a run of one row becomes fp32.
// GGUF's block formats: 32 values along a row with an fp16 scale (and minimum) before them. bitsandbytes' 4-bit formats: 64
// values with an fp32 scale before them, the first of two in the high nibble; its int8: an fp32 scale before each row.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <string>

#include "simd.h"

namespace tunebook {

// Up to 999 the numbers are GGUF's types.
enum class Kind : int64_t { kF32 = 0, kF16 = 1, kQ4_1 = 3, kQ8_0 = 8, kBF16 = 30, kNF4 = 1000, kFP4 = 1001, kInt8 = 1002 };

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
      case Kind::kNF4: case Kind::kFP4: return columns / 64 * 36;
      case Kind::kInt8: return columns + 4;
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

#if defined(__AVX512F__)
// 16 bytes, each a number of 32 bits.
inline VecInt bytesAt(const uint8_t* p) { return reinterpret_cast<VecInt>(_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
#endif

// One block of 32 values to fp32.
inline void unpackQ4_1(const uint8_t* block, float* out) {
  const float d = halfToFloat(half(block)), m = halfToFloat(half(block + 2));
  const uint8_t* q = block + 4;
#if defined(__AVX512F__)
  const VecInt bytes = bytesAt(q);
  store(out, __builtin_convertvector(bytes & 15, Vec) * d + m);
  store(out + 16, __builtin_convertvector(bytes >> 4, Vec) * d + m);
#elif defined(__AVX2__)
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

#if defined(__AVX512F__)
inline Vec halfOfQ4_1(const uint8_t* block, int shift) {
  return __builtin_convertvector((bytesAt(block + 4) >> shift) & 15, Vec) * halfToFloat(half(block)) + halfToFloat(half(block + 2));
}
#endif

// Half a block: its low nibbles are values 0-15, its high nibbles values 16-31.
inline void unpackHalfQ4_1(const uint8_t* block, int shift, float* out) {
#if defined(__AVX512F__)
  store(out, halfOfQ4_1(block, shift));
#else
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
#endif
}

// `count` values of a block, from `offset` on.
inline void unpackQ8_0(const uint8_t* block, int offset, int count, float* out) {
  const float d = halfToFloat(half(block));
  const int8_t* q = reinterpret_cast<const int8_t*>(block + 2) + offset;
#if defined(__AVX512F__)
  for (int i = 0; i < count; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q + i));
    store(out + i, __builtin_convertvector(reinterpret_cast<VecInt>(_mm512_maskz_cvtepi8_epi32(0xffff, bytes)), Vec) * d);
  }
#else
  for (int i = 0; i < count; i++) out[i] = q[i] * d;
#endif
}

constexpr float kTables[2][16] = {
    {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
     -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
     0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f},
    {0.0f, 0.0052083335f, 0.66666669f, 1.0f, 0.33333334f, 0.5f, 0.16666667f, 0.25f, -0.0f, -0.0052083335f, -0.66666669f, -1.0f,
     -0.33333334f, -0.5f, -0.16666667f, -0.25f}};

// `count` values from `offset` on within a block of 64, by its table of 16.
inline void unpackNibbles(const float* table, const uint8_t* block, int offset, int count, float* out) {
  float scale;
  std::memcpy(&scale, block, 4);
  const uint8_t* q = block + 4;
  int i = 0;
#if defined(__AVX512F__)
  if (offset % 2 == 0) {
    const __m512 values = _mm512_loadu_ps(table), scales = _mm512_set1_ps(scale);
    const VecInt shifts = {4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24};
    for (; i + 16 <= count; i += 16) {
      int32_t words[2];
      std::memcpy(words, q + (offset + i) / 2, 8);
      const __m512i both = _mm512_maskz_inserti64x4(0xff, _mm512_set1_epi32(words[0]), _mm256_set1_epi32(words[1]), 1);
      const VecInt codes = reinterpret_cast<VecInt>(both) >> shifts;  // of their bits the lookup sees four
      store(out + i, reinterpret_cast<Vec>(_mm512_mul_ps(_mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(codes), values), scales)));
    }
  }
#endif
#if defined(__AVX2__)
  if (offset % 2 == 0) {
    const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8), scales = _mm256_set1_ps(scale);
    const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24), mask = _mm256_set1_epi32(15);
    for (; i + 8 <= count; i += 8) {
      int32_t word;
      std::memcpy(&word, q + (offset + i) / 2, 4);
      const __m256i codes = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(word), shifts), mask);
      const __m256 below = _mm256_permutevar8x32_ps(low, codes), above = _mm256_permutevar8x32_ps(high, codes);
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));  // bit 3 as the sign
      _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_blendv_ps(below, above, upper), scales));
    }
  }
#endif
  for (; i < count; i++) {
    const uint8_t byte = q[(offset + i) / 2];
    out[i] = table[(offset + i) % 2 ? byte & 15 : byte >> 4] * scale;
  }
}

// Calls f with the kind as a constant of its own type.
template <class F>
void withKind(Kind kind, const F& f) {
  switch (kind) {
    case Kind::kF32: return f(std::integral_constant<Kind, Kind::kF32>{});
    case Kind::kF16: return f(std::integral_constant<Kind, Kind::kF16>{});
    case Kind::kQ4_1: return f(std::integral_constant<Kind, Kind::kQ4_1>{});
    case Kind::kQ8_0: return f(std::integral_constant<Kind, Kind::kQ8_0>{});
    case Kind::kBF16: return f(std::integral_constant<Kind, Kind::kBF16>{});
    case Kind::kNF4: return f(std::integral_constant<Kind, Kind::kNF4>{});
    case Kind::kFP4: return f(std::integral_constant<Kind, Kind::kFP4>{});
    case Kind::kInt8: return f(std::integral_constant<Kind, Kind::kInt8>{});
  }
}

// Values [from, from + count) of a row.
template <Kind kKind>
inline void unpackRow(const uint8_t* row, long from, int count, float* out) {
  if constexpr (kKind == Kind::kF32) {
    std::memcpy(out, row + from * 4, count * 4);
  } else if constexpr (kKind == Kind::kF16) {
    for (int i = 0; i < count; i++) out[i] = halfToFloat(half(row + (from + i) * 2));
  } else if constexpr (kKind == Kind::kBF16) {
    for (int i = 0; i < count; i++) {
      const uint32_t bits = static_cast<uint32_t>(half(row + (from + i) * 2)) << 16;
      std::memcpy(out + i, &bits, 4);
    }
  } else if constexpr (kKind == Kind::kQ4_1 || kKind == Kind::kQ8_0) {
    constexpr int bytes = kKind == Kind::kQ4_1 ? 20 : 34;
    const uint8_t* source = row + from / 32 * bytes;
    for (int done = 0, offset = from % 32, length; done < count; done += length, offset = 0, source += bytes) {
      length = std::min(32 - offset, count - done);
      float* to = out + done;
      float block[32];
      const bool whole = offset % 16 == 0 && length % 16 == 0;  // in halves
      if (kKind == Kind::kQ8_0) unpackQ8_0(source, whole ? offset : 0, whole ? length : 32, whole ? to : block);
      else if (length == 32) unpackQ4_1(source, to);
      else if (whole) unpackHalfQ4_1(source, offset / 4, to);  // 0 or 4 bits down
      else unpackQ4_1(source, block);
      if (!whole) std::memcpy(to, block + offset, length * 4);
    }
  } else if constexpr (kKind == Kind::kNF4 || kKind == Kind::kFP4) {
    for (int done = 0; done < count;) {
      const int offset = (from + done) % 64, length = std::min(64 - offset, count - done);
      unpackNibbles(kTables[kKind == Kind::kFP4], row + (from + done) / 64 * 36, offset, length, out + done);
      done += length;
    }
  } else {
    float scale;
    std::memcpy(&scale, row, 4);
    scale /= 127;
    const int8_t* q = reinterpret_cast<const int8_t*>(row + 4) + from;
    for (int i = 0; i < count; i++) out[i] = q[i] * scale;
  }
}

inline void unpack(const Weight& w, long n, long from, int count, float* out) {
  withKind(w.kind, [&](auto kind) { unpackRow<kind>(w.row(n), from, count, out); });
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
