// GGUF's Q2_K: 256 values in 84 bytes: of every 16 values a scale in the low and a minimum in the high nibble of a byte, codes of 2 bits,
// then an fp16 d and an fp16 m. value = d * scale * code - m * minimum.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<10> : Blocks<256, 84> {
  static Vec lanes(const uint8_t* block, int first) {
    const int group = block[first / 16];
    const float scale = halfToFloat(half(block + 80)) * (group & 15), minimum = halfToFloat(half(block + 82)) * (group >> 4);
    return numbers(fieldsAt<2, 32>(block + 16, first)) * scale - minimum;
  }
};

}  // namespace tunebook
