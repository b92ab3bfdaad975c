// Vectors as wide as the instruction set this file is compiled for (GCC and Clang vector extensions), and the few
// functions on them that the ops share. Everything here is inline; no intrinsics except for the 8 x 8 transpose.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace tunebook {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 8, kVectors = 3;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6, kVectors = 2;
#else
constexpr int kLanes = 4, kRows = 6, kVectors = 2;
#endif
constexpr int kColumns = kLanes * kVectors;  // columns of one packed panel; a multiple of 8

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t VecInt __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
// Minus zero, not plus: x + 0 is not x where x is -0, so the compiler would add.
inline Vec splat(float x) { return x - Vec{}; }

// Keeps a value in a register: the compiler would otherwise make it again at each use.
template <class V>
inline void pin(V& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

#define INLINE __attribute__((always_inline))

template <int... I, class F>
INLINE inline void forEach(std::integer_sequence<int, I...>, const F& f) {
  (f(std::integral_constant<int, I>{}), ...);
}

// Calls f(0) to f(N - 1), each with a constant of its own type.
template <int N, class F>
INLINE inline void unrolled(const F& f) {
  forEach(std::make_integer_sequence<int, N>{}, f);
}

// Calls f(0, 0) to f(R - 1, V - 1), row by row.
template <int R, int V, class F>
INLINE inline void eachOf(const F& f) {
  unrolled<R>([&](auto r) INLINE { unrolled<V>([&](auto v) INLINE { f(r, v); }); });
}

inline bool any(VecInt mask) {
  int32_t all = 0;
  for (int i = 0; i < kLanes; i++) all |= mask[i];
  return all;
}

inline float sum(Vec v) {
  float parts[kLanes];
  store(parts, v);
  float total = 0;
  for (int i = 0; i < kLanes; i++) total += parts[i];
  return total;
}

inline float largest(const float* x, long n, float least) {
  Vec tops = splat(least);
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec next = load(x + i);
    tops = next > tops ? next : tops;
  }
  for (int j = 0; j < kLanes; j++) least = tops[j] > least ? tops[j] : least;
  for (; i < n; i++) least = x[i] > least ? x[i] : least;
  return least;
}

// e^r 2^n for |r| <= ln(2) / 2 and whole n in [-126, 127]
inline Vec expOf(Vec r, Vec n) {
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const VecInt exponent = (__builtin_convertvector(n, VecInt) + 127) << 23;
  return p * reinterpret_cast<Vec>(exponent);
}

inline Vec clamp(Vec x, float least, float most) {
  const Vec low = splat(least), high = splat(most);
  x = x < low ? low : x;
  return x > high ? high : x;
}

constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
constexpr float kLog2e = 1.44269504088896341f;

// e^x to about 1 ulp for x in [-87, 88]; smaller arguments give e^-87 (1e-38), larger ones e^88.
inline Vec exp(Vec x) {
  x = clamp(x, -87.0f, 88.0f);
  const Vec n = (x * kLog2e + kMagic) - kMagic;
  return expOf((x - n * 0.693359375f) - n * -2.12194440e-4f, n);
}

// 2^x to about 1 ulp for x in [-100, 127]; smaller arguments give 2^-100, larger ones 2^127.
inline Vec exp2(Vec x) {
  x = clamp(x, -100.0f, 127.0f);
  const Vec n = (x + kMagic) - kMagic;
  return expOf((x - n) * 0.693147180559945309f, n);
}

// 2^x to 3e-6 of its value, and 2^0 = 1, in half the time. (With plain intrinsics GCC 12 warns of its own headers.)
inline Vec roughExp2(Vec x) {
#if defined(__AVX512F__)
  const __m512 t = reinterpret_cast<__m512>(x), whole = _mm512_maskz_roundscale_ps(0xffff, t, 8);
  const Vec f = x - reinterpret_cast<Vec>(whole);
  Vec p = splat(0.00958286f) * f + 0.05590644f;
  p = p * f + 0.24024099f;
  p = p * f + 0.69312419f;
  p = p * f + 1.0f;
  return reinterpret_cast<Vec>(_mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(p), whole));
#else
  return exp2(x);
#endif
}

// e^x likewise
inline Vec roughExp(Vec x) { return roughExp2(x * kLog2e); }

// An online softmax keeps its exponentials relative to an earlier maximum until a new one is so much above it: before they leave the
// range of fp32, and seldom enough that its sums hardly ever change.
constexpr float kFar = 40;

inline float dot(const float* a, const float* b, int n) {
  Vec s0{}, s1{};
  int i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    s0 += load(a + i) * load(b + i);
    s1 += load(a + i + kLanes) * load(b + i + kLanes);
  }
  float total = sum(s0 + s1);
  for (; i < n; i++) total += a[i] * b[i];
  return total;
}

// y += a * x
inline void axpy(float a, const float* x, float* y, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) + load(x + i) * a);
  for (; i < n; i++) y[i] += a * x[i];
}

// The first kCount of 8 rows of 8 floats, lds apart, to 8 columns, ldd apart, one after another; what is behind the first
// kCount values of a column may be overwritten.
template <int kCount = 8>
inline void transpose8(const float* s, long lds, float* d, long ldd) {
#if defined(__AVX__)
  __m256 r[8], t[8];
  unrolled<8>([&](auto i) INLINE { r[i] = _mm256_loadu_ps(s + (i < kCount ? i : 0) * lds); });
  unrolled<4>([&](auto i) INLINE {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  });
  unrolled<2>([&](auto i) INLINE {
    r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
  });
  unrolled<4>([&](auto i) INLINE { _mm256_storeu_ps(d + i * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20)); });
  unrolled<4>([&](auto i) INLINE { _mm256_storeu_ps(d + (i + 4) * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31)); });
#else
  for (int j = 0; j < 8; j++)
    for (int i = 0; i < kCount; i++) d[j * ldd + i] = s[i * lds + j];
#endif
}

inline float halfToFloat(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | (mantissa << 13);
  } else if (exponent) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    const float tiny = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -tiny : tiny;
  }
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
#endif
}

// The nearest, of two as near the even one; beyond 65,504 infinity.
inline uint16_t floatToHalf(float x) {
#if defined(__F16C__)
  return _cvtss_sh(x, 0);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  const auto nearest = [](uint32_t n, int shift) { return (n + ((1u << (shift - 1)) - 1) + (n >> shift & 1)) >> shift; };
  if (magnitude >= 0x38800000) return sign | nearest(magnitude - 0x38000000, 13);
  const int shift = 126 - static_cast<int>(magnitude >> 23);  // below 2^-14: multiples of 2^-24
  return sign | (shift > 24 ? 0 : nearest((magnitude & 0x7fffff) | 0x800000, shift));
#endif
}

}  // namespace tunebook
