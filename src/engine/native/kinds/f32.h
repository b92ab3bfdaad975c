// 32-bit floats.
#pragma once
#include "../kinds.h"

namespace tunebook {

constexpr int64_t kPlain = 0;  // the number of what is not packed at all

template <>
struct Kind<kPlain> : Values<4> {
  static void packRow(const float* x, long columns, uint8_t* row) { std::memcpy(row, x, columns * 4); }
  static void values(const uint8_t* row, long from, int count, float* out) { std::memcpy(out, row + from * 4, count * 4); }
  static float dot(const uint8_t* row, const float* x, long columns, const float*) { return tunebook::dot(reinterpret_cast<const float*>(row), x, columns); }
};

}  // namespace tunebook
