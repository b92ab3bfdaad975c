// Gates of feed-forward layers, y = act(gate) * up; see ops/swiglu.ts and ops/geglu.ts.
#pragma once
#include "elementwise.h"

namespace tunebook {

// An activation and its derivative at g; exponentials are P's.
struct Gate {
  Vec value, slope;
};

struct Silu {
  template <class P>
  static INLINE Gate at(Vec g) {
    const Vec below = 1.0f + P::exp(-g), s = 1.0f / below;
    return {g / below, s * (1.0f + g * (1.0f - s))};
  }
};

// With t = tanh(u), u = sqrt(2 / pi) (g + 0.044715 g^3): g (1 + t) / 2, and (1 + t) / 2 + g (1 - t^2) u' / 2.
struct GeluTanh {
  template <class P>
  static INLINE Gate at(Vec g) {
    constexpr float root = 0.7978845608028654f, cubic = 0.044715f;
    const Vec u = root * (g + cubic * g * g * g);
    const Vec t = 1.0f - 2.0f / (1.0f + P::exp(2.0f * u));  // tanh
    const Vec half = 0.5f * (1.0f + t);
    return {g * half, half + 0.5f * g * (1.0f - t * t) * root * (1.0f + 3.0f * cubic * g * g)};
  }
};

// g F(g) and F(g) + g f(g), with the normal distribution's F and density f.
struct Gelu {
  template <class P>
  static INLINE Gate at(Vec g) {
    float values[kLanes];
    store(values, g);
    for (float& x : values) x = 0.5f * (1.0f + std::erf(x * 0.70710678118654752f));
    const Vec below = load(values);
    return {g * below, below + g * 0.3989422804014327f * P::exp(-0.5f * g * g)};
  }
};

// Calls f with the activation of a number that ops are told: 0 silu, 1 gelu as tanh approximates it, 2 gelu.
template <class F>
void withGate(long number, const F& f) {
  if (number == 0) f(Silu());
  else if (number == 1) f(GeluTanh());
  else f(Gelu());
}

// `n` values on the calling thread.
template <class P, class A, class T, class Y>
inline void gatedRow(const T* gate, const T* up, long n, Y* y) {
  for (long i = 0; i < n; i += kLanes) {
    const int part = std::min<long>(kLanes, n - i);
    put(y + i, A::template at<P>(some(gate + i, part)).value * some(up + i, part), part);
  }
}

template <class P, class A, class T, class Y>
inline void gated(const T* gate, const T* up, int64_t size, Y* y) {
  constexpr int64_t block = 8192;
  parallelFor(static_cast<int>((size + block - 1) / block), [&](int task, int) {
    const int64_t i = task * block;
    gatedRow<P, A>(gate + i, up + i, std::min(block, size - i), y + i);
  });
}

// dup may be dy.
template <class P, class A, class T>
inline void gatedBack(const T* gate, const T* up, const T* dy, int64_t size, T* dgate, T* dup) {
  forVectors(size, [&](int64_t i, int n) {
    const Gate g = A::template at<P>(some(gate + i, n));
    const Vec u = some(up + i, n), d = some(dy + i, n);
    put(dgate + i, d * u * g.slope, n);
    put(dup + i, d * g.value, n);
  });
}

}  // namespace tunebook
