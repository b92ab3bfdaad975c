// IEEE half precision.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<1> : Values<2> {
  static void packRow(const float* x, long columns, uint8_t* row) {
    for (long i = 0; i < columns; i++) {
      const uint16_t h = floatToHalf(x[i]);
      std::memcpy(row + 2 * i, &h, 2);
    }
  }
  static void values(const uint8_t* row, long from, int count, float* out) {
    for (int i = 0; i < count; i++) out[i] = halfToFloat(half(row + (from + i) * 2));
  }
};

}  // namespace tunebook
