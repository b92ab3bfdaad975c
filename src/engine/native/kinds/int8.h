// LLM.int8()'s weights: an fp32 magnitude before each row, then signed bytes. value = byte * magnitude / 127.
#pragma once
#include "../kinds.h"

namespace tunebook {

template <>
struct Kind<1002> : Values<1, 4> {
  static void values(const uint8_t* row, long from, int count, float* out) {
    float scale;
    std::memcpy(&scale, row, 4);
    scale /= 127;
    const int8_t* q = reinterpret_cast<const int8_t*>(row + kRowHead) + from;
    for (int i = 0; i < count; i++) out[i] = q[i] * scale;
  }
};

}  // namespace tunebook
