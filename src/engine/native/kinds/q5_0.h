// GGUF's Q5_0: an fp16 scale d, 32 high bits, then 32 values' low bits in nibbles. value = d * (code - 16).
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<6> : Blocks<32, 22> {
  static Vec lanes(const uint8_t* block, int first) {
    const VecInt codes = fieldsAt<4, 16>(block + 6, first) | (bitsAt(block + 2, first) << 4);
    return numbers(codes - 16) * halfToFloat(half(block));
  }
};

}  // namespace tunebook
