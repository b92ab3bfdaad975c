// GGUF's Q4_0: an fp16 scale d, then 32 values in nibbles. value = d * (nibble - 8).
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<2> : Blocks<32, 18> {
  static Vec lanes(const uint8_t* block, int first) { return (nibblesAt(block + 2, first) - 8) * halfToFloat(half(block)); }
};

}  // namespace tunebook
