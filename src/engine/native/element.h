// What a matrix product multiplies: fp32 values, or pairs of bf16 that stand side by side along the inner dimension (the
// layout of the CPU's bf16 instructions). Sums are fp32 in both. Both elements are 4 bytes wide.
#pragma once
#include "simd.h"

namespace tunebook {

typedef uint32_t VecBits __attribute__((vector_size(kLanes * 4)));
typedef uint32_t UnalignedBits __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint16_t VecShort __attribute__((vector_size(kLanes * 2)));
typedef uint16_t UnalignedShort __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));
typedef uint16_t Half __attribute__((may_alias));  // a bf16, also as one half of a pair

// The upper 16 bits of each lane are x as bf16, rounded to nearest even; NaN stays NaN.
inline VecBits roundToBf16(Vec x) {
  const VecBits bits = reinterpret_cast<VecBits>(x), rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return x != x ? VecBits{} + 0x7fc00000 : rounded;
}

inline uint16_t toBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return x != x ? 0x7fc0 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

inline float fromBf16(uint16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline void toBf16(const float* from, Half* to, long n) {
  long i = 0;
#if defined(__AVX512BF16__)
  for (; i + 32 <= n; i += 32)
    _mm512_storeu_si512(to + i, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i))));
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(from + i))));
#else
  for (; i + kLanes <= n; i += kLanes)
    *reinterpret_cast<UnalignedShort*>(to + i) = __builtin_convertvector(roundToBf16(load(from + i)) >> 16, VecShort);
#endif
  for (; i < n; i++) to[i] = toBf16(from[i]);
}

#if defined(__AVX512BF16__)
// Half 2 i of the result is half i of the lower 16, half 2 i + 1 that of the upper.
inline VecBits zip(__m512i halves) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2,
                                         17, 1, 16, 0);
  return reinterpret_cast<VecBits>(_mm512_maskz_permutexvar_epi16(0xffffffff, order, halves));
}
#endif

// Pairs of bf16: the values of `first` in the lower halves, those of `second` in the upper.
inline VecBits pairs(Vec first, Vec second) {
#if defined(__AVX512BF16__)
  return zip(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first))));
#else
  return roundToBf16(first) >> 16 | (roundToBf16(second) & 0xffff0000u);
#endif
}

inline void store(uint32_t* p, VecBits bits) { *reinterpret_cast<UnalignedBits*>(p) = bits; }

inline Vec load(const Half* p) {
  return reinterpret_cast<Vec>(__builtin_convertvector(*reinterpret_cast<const UnalignedShort*>(p), VecBits) << 16);
}

inline void store(Half* p, Vec v) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v))));
#else
  *reinterpret_cast<UnalignedShort*>(p) = __builtin_convertvector(roundToBf16(v) >> 16, VecShort);
#endif
}

// Pairs from values that are bf16 already.
inline VecBits pairs(const Half* first, const Half* second) {
#if defined(__AVX512BF16__)
  const __m256i lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)), upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second));
  return zip(_mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(lower), upper, 1));
#else
  return reinterpret_cast<VecBits>(load(first)) >> 16 | reinterpret_cast<VecBits>(load(second));
#endif
}
inline VecBits pairs(const float* first, const float* second) { return pairs(load(first), load(second)); }

// Two rows as bf16, each to its place; returned as pairs.
inline VecBits storeRows(Half* first, Half* second, Vec x, Vec y) {
#if defined(__AVX512BF16__)
  const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(y), reinterpret_cast<__m512>(x)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(first), _mm512_castsi512_si256(both));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(second), _mm512_maskz_extracti64x4_epi64(0xff, both, 1));
  return zip(both);
#else
  store(first, x);
  store(second, y);
  return pairs(x, y);
#endif
}

inline float valueOf(float x) { return x; }
inline float valueOf(Half x) { return fromBf16(x); }

// From fp32 or bf16 to the other or the same.
inline void convert(const float* from, float* to, long n) { std::memcpy(to, from, n * 4); }
inline void convert(const float* from, Half* to, long n) { toBf16(from, to, n); }
inline void convert(const Half* from, Half* to, long n) { std::memcpy(to, from, n * 2); }
inline void convert(const Half* from, float* to, long n) {
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  for (; i < n; i++) to[i] = fromBf16(from[i]);
}

#if defined(__AVX512BF16__)
constexpr bool kHasBf16 = true;
#else
constexpr bool kHasBf16 = false;
#endif

struct F32 {
  using T = float;
  using Kept = float;  // as what values are kept for the backward pass
  static constexpr int kTile = kRows;  // rows of a register tile
  static constexpr long kFit = 32768;  // elements of the panels that a task of a product goes through together
  static constexpr int kPack = 1;  // values of the inner dimension in one element
  using V = Vec;
  static V loadRight(const T* p) { return load(p); }
  static V spread(T x) { return splat(x); }
  static Vec exp(Vec x) { return tunebook::exp(x); }
  static Vec exp2(Vec x) { return tunebook::exp2(x); }
  static void multiplyAdd(Vec& sum, V left, V right) {
#if defined(__FMA__) && !defined(__AVX512F__)
    // Written out, since with 16 registers the compiler (GCC 12) moves sums to and fro and reads the right side again from memory.
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(left), "x"(right));
#else
    sum += left * right;
#endif
  }
};

struct BF16 {
  using T = uint32_t;  // the lower half comes first
  using Kept = Half;
  static constexpr int kTile = kHasBf16 ? kRows : 4;  // taking pairs apart needs registers too
  static constexpr long kFit = kHasBf16 ? 16384 : 32768;
  static constexpr int kPack = 2;
  using V = VecBits;
  static V loadRight(const T* p) { return *reinterpret_cast<const UnalignedBits*>(p); }
  static V spread(T x) { return VecBits{} + x; }
  static Vec exp(Vec x) { return roughExp(x); }  // what becomes bf16 needs no more
  static Vec exp2(Vec x) { return roughExp2(x); }
  // In the order of VDPBF16PS: the upper halves first.
  static void multiplyAdd(Vec& sum, V left, V right) {
#if defined(__AVX512BF16__)
    sum = reinterpret_cast<Vec>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(left), reinterpret_cast<__m512bh>(right)));
#else
    const VecBits upper = VecBits{} + 0xffff0000u;
    sum += reinterpret_cast<Vec>(left & upper) * reinterpret_cast<Vec>(right & upper);
    sum += reinterpret_cast<Vec>(left << 16) * reinterpret_cast<Vec>(right << 16);
#endif
  }
};

template <class T>
inline float dotAny(const T* a, const T* b, long n) {
  if constexpr (sizeof(T) == 4) return dot(a, b, n);
  else {
    Vec sums{};
    long i = 0;
    for (; i + kLanes <= n; i += kLanes) sums += load(a + i) * load(b + i);
    float total = sum(sums);
    for (; i < n; i++) total += fromBf16(a[i]) * fromBf16(b[i]);
    return total;
  }
}

// Calls f(F32{}) or f(BF16{}).
template <class F>
void withPrecision(bool bf16, const F& f) {
  if (bf16) f(BF16{});
  else f(F32{});
}

}  // namespace tunebook
