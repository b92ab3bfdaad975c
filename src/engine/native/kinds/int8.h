// LLM.int8()'s weights: an fp32 magnitude before each row, then signed bytes. value = byte * magnitude / 127.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<1002> : Values<1, 4> {
  // bitsandbytes takes the values in half precision, and multiplies by 127 times the inverse.
  static void packRow(const float* x, long columns, uint8_t* row) {
    float scale = 0;
    for (long i = 0; i < columns; i++) scale = std::max(scale, std::fabs(halfToFloat(floatToHalf(x[i]))));
    std::memcpy(row, &scale, 4);
    const float factor = scale ? 1 / scale * 127 : 0;
    int8_t* q = reinterpret_cast<int8_t*>(row + kRowHead);
    for (long i = 0; i < columns; i++) q[i] = static_cast<int8_t>(std::nearbyint(halfToFloat(floatToHalf(x[i])) * factor));
  }
  static void values(const uint8_t* row, long from, int count, float* out) {
    float scale;
    std::memcpy(&scale, row, 4);
    scale /= 127;
    const int8_t* q = reinterpret_cast<const int8_t*>(row + kRowHead) + from;
    for (int i = 0; i < count; i++) out[i] = q[i] * scale;
  }
};

}  // namespace tunebook
