// GGUF's Q5_1: an fp16 scale d and an fp16 minimum m, 32 high bits, then 32 values' low bits in nibbles. value = d * code + m.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<7> : Blocks<32, 24> {
  static Vec lanes(const uint8_t* block, int first) {
    const VecInt codes = fieldsAt<4, 16>(block + 8, first) | (bitsAt(block + 4, first) << 4);
    return numbers(codes) * halfToFloat(half(block)) + halfToFloat(half(block + 2));
  }
};

}  // namespace tunebook
