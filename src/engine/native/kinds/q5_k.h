// GGUF's Q5_K: 256 values in 176 bytes: an fp16 d and an fp16 m, of every 32 values a scale and a minimum of 6 bits, the codes' high bits,
// then their low four. value = d * scale * code - m * minimum.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<13> : Blocks<256, 176> {
  static Vec lanes(const uint8_t* block, int first) {
    const float scale = halfToFloat(half(block)) * scaleAt(block + 4, first / 32);
    const VecInt codes = fieldsAt<4, 32>(block + 48, first) | (fieldsAt<1, 32>(block + 16, first) << 4);
    return numbers(codes) * scale - halfToFloat(half(block + 2)) * minimumAt(block + 4, first / 32);
  }
};

}  // namespace tunebook
