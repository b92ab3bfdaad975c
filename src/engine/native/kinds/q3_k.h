// GGUF's Q3_K: 256 values in 110 bytes: their high bits, their low two bits, of every 16 values a scale of 6 bits (the lower four of all in
// nibbles, then the upper two), then an fp16 d. value = d * (scale - 32) * (code - 4).
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<11> : Blocks<256, 110> {
  static Vec lanes(const uint8_t* block, int first) {
    const int group = first / 16;
    const uint8_t* scales = block + 96;
    const int scale = (scales[group % 8] >> (group / 8 * 4) & 15) | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
    const VecInt codes = fieldsAt<2, 32>(block + 32, first) | (fieldsAt<1, 32>(block, first) << 2);
    return numbers(codes - 4) * (halfToFloat(half(block + 108)) * (scale - 32));
  }
};

}  // namespace tunebook
