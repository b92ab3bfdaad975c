// Products of whole numbers: lanes of four codes of a weight each (bytes along a row) with four signed bytes of x, by VNNI, by AVX2's or
// AVX-512's maddubs, or as plain code. Signed codes are raised by kRaise first, where the instructions want them without a sign.
#pragma once
#include "kinds.h"

namespace tunebook {

#if defined(__AVX512VNNI__)

constexpr int kRaise = 128;
inline VecInt raised(VecInt codes) { return codes ^ (VecInt{} + static_cast<int32_t>(0x80808080u)); }

// The sums over a run of 32 values. kSigned: the codes are, beside being raised; otherwise they are at most 15, or 63 where kWide.
template <bool kSigned, bool kWide = false>
struct Dots {
  VecInt sums{};
  // As assembly: from the intrinsic GCC 12 makes code that moves sums through memory.
  INLINE void add(VecInt codes, const int32_t* x) { asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(codes), "m"(*x)); }
  Vec floats() const { return __builtin_convertvector(sums, Vec); }
};

#elif defined(__AVX2__)

constexpr int kRaise = 0;
inline VecInt raised(VecInt codes) { return codes; }

#if defined(__AVX512BW__)
inline VecInt pairSums(VecInt codes, VecInt x) {
  return reinterpret_cast<VecInt>(_mm512_maskz_maddubs_epi16(0xffffffffu, reinterpret_cast<__m512i>(codes), reinterpret_cast<__m512i>(x)));
}
inline VecInt addShorts(VecInt a, VecInt b) {
  return reinterpret_cast<VecInt>(_mm512_maskz_add_epi16(0xffffffffu, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
inline VecInt quadSums(VecInt pairs) {
  return reinterpret_cast<VecInt>(_mm512_maskz_madd_epi16(0xffff, reinterpret_cast<__m512i>(pairs), _mm512_set1_epi16(1)));
}
inline VecInt magnitudes(VecInt codes) { return reinterpret_cast<VecInt>(_mm512_maskz_abs_epi8(~0ull, reinterpret_cast<__m512i>(codes))); }
// x with the signs of the codes; where a code is 0 it does not matter.
inline VecInt signedBy(VecInt x, VecInt codes) {
  const __m512i value = reinterpret_cast<__m512i>(x);
  return reinterpret_cast<VecInt>(_mm512_mask_sub_epi8(value, _mm512_movepi8_mask(reinterpret_cast<__m512i>(codes)), _mm512_setzero_si512(), value));
}
#else
inline VecInt pairSums(VecInt codes, VecInt x) {
  return reinterpret_cast<VecInt>(_mm256_maddubs_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
}
inline VecInt addShorts(VecInt a, VecInt b) { return reinterpret_cast<VecInt>(_mm256_add_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b))); }
inline VecInt quadSums(VecInt pairs) { return reinterpret_cast<VecInt>(_mm256_madd_epi16(reinterpret_cast<__m256i>(pairs), _mm256_set1_epi16(1))); }
inline VecInt magnitudes(VecInt codes) { return reinterpret_cast<VecInt>(_mm256_abs_epi8(reinterpret_cast<__m256i>(codes))); }
inline VecInt signedBy(VecInt x, VecInt codes) {
  return reinterpret_cast<VecInt>(_mm256_sign_epi8(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(codes)));
}
#endif

template <bool kSigned, bool kWide = false>
struct Dots {
  VecInt sums{};  // signed or wide codes: of 32 bits; others: of 16, which the 8 products of a run (15 * 127 * 2 * 8) do not leave
  INLINE void add(VecInt codes, const int32_t* x) {
    const VecInt four = VecInt{} + *x;
    if constexpr (kSigned) sums += quadSums(pairSums(magnitudes(codes), signedBy(four, codes)));
    else if constexpr (kWide) sums += quadSums(pairSums(codes, four));
    else sums = addShorts(sums, pairSums(codes, four));
  }
  Vec floats() const {
    if constexpr (kSigned || kWide) return __builtin_convertvector(sums, Vec);
    else return __builtin_convertvector(quadSums(sums), Vec);
  }
};

#else

constexpr int kRaise = 0;
inline VecInt raised(VecInt codes) { return codes; }

template <bool kSigned, bool kWide = false>
struct Dots {
  VecInt sums{};
  INLINE void add(VecInt codes, const int32_t* x) {
    for (int t = 0; t < 4; t++) {
      const VecInt byte = kSigned ? codes << (24 - 8 * t) >> 24 : codes >> (8 * t) & 255;
      sums += byte * static_cast<int32_t>(reinterpret_cast<const int8_t*>(x)[t]);
    }
  }
  Vec floats() const { return __builtin_convertvector(sums, Vec); }
};

#endif

// kLanes words, and kLanes fp16 or bf16 values.
inline VecInt wordsAt(const uint8_t* p) {
  VecInt v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Vec fp16At(const uint8_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
  return reinterpret_cast<Vec>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  Vec v;
  for (int i = 0; i < kLanes; i++) v[i] = halfToFloat(half(p + 2 * i));
  return v;
#endif
}

// Looks kLanes * 4 codes below 16 up in a table of bytes.
inline VecInt lookedUp(const uint8_t* table, VecInt codes) {
#if defined(__AVX512BW__)
  const __m512i all = _mm512_maskz_broadcast_i32x4(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return reinterpret_cast<VecInt>(_mm512_maskz_shuffle_epi8(~0ull, all, reinterpret_cast<__m512i>(codes)));
#elif defined(__AVX2__)
  const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return reinterpret_cast<VecInt>(_mm256_shuffle_epi8(all, reinterpret_cast<__m256i>(codes)));
#else
  uint8_t bytes[kLanes * 4];
  std::memcpy(bytes, &codes, sizeof bytes);
  for (uint8_t& byte : bytes) byte = table[byte];
  return wordsAt(bytes);
#endif
}

}  // namespace tunebook
