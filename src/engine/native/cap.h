// What keeps scores and logits within a cap: cap tanh(x / cap).
#pragma once
#include "simd.h"

namespace tunebook {

inline Vec tanhOf(Vec x) { return 1.0f - 2.0f / (1.0f + exp(2.0f * clamp(x, -20.0f, 20.0f))); }

// How x is followed by what the cap has made of it; 1 without a cap.
inline float capSlope(float capped, float cap) { return cap > 0 ? 1 - capped / cap * (capped / cap) : 1; }

}  // namespace tunebook
