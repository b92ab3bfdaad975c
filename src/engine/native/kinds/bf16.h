// bfloat16: the upper half of a 32-bit float.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<30> : Values<2> {
  static void packRow(const float* x, long columns, uint8_t* row) { toBf16(x, reinterpret_cast<uint16_t*>(row), columns); }
  static void values(const uint8_t* row, long from, int count, float* out) {
    for (int i = 0; i < count; i++) {
      const uint32_t bits = static_cast<uint32_t>(half(row + (from + i) * 2)) << 16;
      std::memcpy(out + i, &bits, 4);
    }
  }
};

}  // namespace tunebook
