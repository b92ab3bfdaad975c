// Passes over all rows or elements of a tensor on all threads, and the activations that go through them.
#pragma once
#include <algorithm>

#include "element.h"
#include "pool.h"

namespace tunebook {

// body(i) for every row i, `size` floats each.
template <class Body>
void forRows(long rows, long size, const Body& body) {
  const long block = std::max<long>(1, 8192 / std::max<long>(size, 1));
  parallelFor(static_cast<int>((rows + block - 1) / block), [&](int task, int) {
    for (long i = task * block; i < std::min(rows, (task + 1) * block); i++) body(i);
  });
}

// sums[j] = value(i, j) summed over rows i in their order: columns are what the threads share.
template <class Value>
void sumOverRows(long rows, long columns, const Value& value, float* sums) {
  constexpr long block = 64;
  parallelFor(static_cast<int>((columns + block - 1) / block), [&](int task, int) {
    const long from = task * block, to = std::min(columns, from + block);
    for (long j = from; j < to; j++) sums[j] = 0;
    for (long i = 0; i < rows; i++)
      for (long j = from; j < to; j++) sums[j] += value(i, j);
  });
}

// Loads up to kLanes values, zeros behind them.
template <class T>
inline Vec some(const T* p, int n) {
  if (n == kLanes) return load(p);
  T line[kLanes] = {};
  std::memcpy(line, p, n * sizeof(T));
  return load(line);
}

template <class T>
inline void put(T* p, Vec v, int n) {
  if (n == kLanes) return store(p, v);
  T line[kLanes];
  store(line, v);
  std::memcpy(p, line, n * sizeof(T));
}

// Conversion of kept values, on all threads. Where they are kept as fp32 they are used in place: see staged and recalled.
template <class From, class To>
inline void convertAll(const From* from, To* to, int64_t size) {
  if (static_cast<const void*>(from) == to) return;
  constexpr int64_t block = 16384;
  parallelFor(static_cast<int>((size + block - 1) / block), [&](int task, int) {
    const int64_t i = task * block;
    convert(from + i, to + i, std::min(block, size - i));
  });
}

inline float* staged(float* kept, int, int64_t) { return kept; }
inline float* staged(Half*, int slot, int64_t size) { return scratch(slot, size); }
inline const float* recalled(const float* kept, int, int64_t) { return kept; }
inline const float* recalled(const Half* kept, int slot, int64_t size) {
  float* values = scratch(slot, size);
  convertAll(kept, values, size);
  return values;
}

// body(i, n) for vectors of n <= kLanes elements from i on; only the last has fewer.
template <class Body>
void forVectors(int64_t size, const Body& body) {
  constexpr int64_t block = 8192;  // a multiple of every vector width
  parallelFor(static_cast<int>((size + block - 1) / block), [&](int task, int) {
    const int64_t end = std::min(size, (task + 1) * block);
    int64_t i = task * block;
    for (; i + kLanes <= end; i += kLanes) body(i, kLanes);
    if (i < end) body(i, static_cast<int>(end - i));
  });
}

inline void setTo(float& to, float x) { to = x; }
inline void setTo(Half& to, float x) { to = toBf16(x); }

// Rotates the first `heads` heads of every row (of `width` floats), in place or not; the rest is copied. See ops/rope.ts.
template <class T>
inline void rotate(const float* from, T* to, long rows, long width, long heads, long dim, const float* cos, const float* sin, long seq,
                   float sign) {
  const long half = dim / 2;
  forRows(rows, width, [&](long t) {
    const float *c = cos + t % seq * half, *s = sin + t % seq * half;
    const float* in = from + t * width;
    T* out = to + t * width;
    for (long h = 0; h < heads; h++, in += dim, out += dim) {
      long j = 0;
      for (; j + kLanes <= half; j += kLanes) {
        const Vec x = load(in + j), y = load(in + j + half), cosines = load(c + j), sines = load(s + j) * sign;
        store(out + j, x * cosines - y * sines);
        store(out + j + half, y * cosines + x * sines);
      }
      for (; j < half; j++) {
        const float x = in[j], y = in[j + half];
        setTo(out[j], x * c[j] - y * s[j] * sign);
        setTo(out[j + half], y * c[j] + x * s[j] * sign);
      }
    }
    if (static_cast<const void*>(in) != out) convert(in, out, width - heads * dim);
  });
}

// y = silu(gate) * up, `n` values on the calling thread; the exponential is P's.
template <class P, class T, class Y>
inline void swigluRow(const T* gate, const T* up, long n, Y* y) {
  for (long i = 0; i < n; i += kLanes) {
    const int part = std::min<long>(kLanes, n - i);
    const Vec g = some(gate + i, part);
    put(y + i, g / (1.0f + P::exp(-g)) * some(up + i, part), part);
  }
}

template <class P, class T, class Y>
inline void swiglu(const T* gate, const T* up, int64_t size, Y* y) {
  constexpr int64_t block = 8192;
  parallelFor(static_cast<int>((size + block - 1) / block), [&](int task, int) {
    const int64_t i = task * block;
    swigluRow<P>(gate + i, up + i, std::min(block, size - i), y + i);
  });
}

// dup may be dy.
template <class P, class T>
inline void swigluBack(const T* gate, const T* up, const T* dy, int64_t size, T* dgate, T* dup) {
  forVectors(size, [&](int64_t i, int n) {
    const Vec g = some(gate + i, n), u = some(up + i, n), d = some(dy + i, n);
    const Vec s = 1.0f / (1.0f + P::exp(-g));
    put(dgate + i, d * u * s * (1.0f + g * (1.0f - s)), n);
    put(dup + i, d * g * s, n);
  });
}

}  // namespace tunebook
