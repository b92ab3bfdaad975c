// Dropout masks as a pure function of (seed, index): the backward pass and a resumed run draw the same ones.
#pragma once
#include <cstdint>

namespace tunebook {

// "lowbias32" by Chris Wellons: https://nullprogram.com/blog/2018/07/31/
inline uint32_t hash(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  x ^= x >> 16;
  return x;
}

class Mask {
 public:
  Mask(double rate, int32_t seed)
      : key_(hash(static_cast<uint32_t>(seed))),
        threshold_(static_cast<uint32_t>(rate * 4294967296.0)),
        scale_(static_cast<float>(1 / (1 - rate))) {}
  // 0, or what a value that stays is multiplied by.
  float operator()(int64_t i) const { return hash(static_cast<uint32_t>(i) ^ key_) < threshold_ ? 0 : scale_; }

 private:
  const uint32_t key_, threshold_;
  const float scale_;
};

}  // namespace tunebook
