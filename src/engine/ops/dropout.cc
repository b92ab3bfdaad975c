// Dropout whose mask is a pure function of (seed, index): the backward pass is the same op on dy. See dropout.ts.
#include "../native/op.h"
#include "../native/pool.h"

#include <algorithm>

namespace tunebook {
namespace {

// "lowbias32" by Chris Wellons: https://nullprogram.com/blog/2018/07/31/
uint32_t hash(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  x ^= x >> 16;
  return x;
}

void dropout(Call& call) {
  const auto x = call.input<float>(0);
  const auto seed = call.input<int32_t>(1);
  const double rate = call.attribute(0);
  const uint32_t key = hash(static_cast<uint32_t>(seed.data[0])), threshold = static_cast<uint32_t>(rate * 4294967296.0);
  const float scale = static_cast<float>(1 / (1 - rate));
  float* y = call.output(0, x.shape);
  constexpr int64_t block = 16384;
  parallelFor(static_cast<int>((x.size + block - 1) / block), [&](int task, int) {
    for (int64_t i = task * block; i < std::min(x.size, (task + 1) * block); i++)
      y[i] = hash(static_cast<uint32_t>(i) ^ key) < threshold ? 0 : x.data[i] * scale;
  });
}

const Spec spec{"TunebookDropout", {"x: float", "seed: int32"}, {"y: float"}, {"rate: float"}};
const Op<spec, dropout> op;

}  // namespace
}  // namespace tunebook
