// GGUF's Q6_K: 256 values in 210 bytes: the codes' low four bits, their high two, of every 16 values a signed byte as scale, then an fp16 d.
// value = d * scale * (code - 32).
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<14> : Blocks<256, 210> {
  static Vec lanes(const uint8_t* block, int first) {
    const int scale = static_cast<int8_t>(block[192 + first / 16]);
    const VecInt codes = fieldsAt<4, 64>(block, first) | (fieldsAt<2, 32>(block + 128, first) << 4);
    return numbers(codes - 32) * (halfToFloat(half(block + 208)) * scale);
  }
};

}  // namespace tunebook
