// GGUF's Q4_K: 256 values in 144 bytes: an fp16 d and an fp16 m, of every 32 values a scale and a minimum of 6 bits, then codes of 4 bits.
// value = d * scale * code - m * minimum.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<12> : Blocks<256, 144> {
  static Vec lanes(const uint8_t* block, int first) {
    const float scale = halfToFloat(half(block)) * scaleAt(block + 4, first / 32);
    return numbers(fieldsAt<4, 32>(block + 16, first)) * scale - halfToFloat(half(block + 2)) * minimumAt(block + 4, first / 32);
  }
};

}  // namespace tunebook
