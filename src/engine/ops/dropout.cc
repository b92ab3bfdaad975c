// Dropout whose mask is a pure function of (seed, index): the backward pass is the same op on dy. See dropout.ts.
#include "../native/mask.h"
#include "../native/op.h"
#include "../native/pool.h"

#include <algorithm>

namespace tunebook {
namespace {

void dropout(Call& call) {
  const auto x = call.input<float>(0);
  const auto seed = call.input<int32_t>(1);
  const Mask mask(call.attribute(0), seed.data[0]);
  float* y = call.output(0, x.shape);
  constexpr int64_t block = 16384;
  parallelFor(static_cast<int>((x.size + block - 1) / block), [&](int task, int) {
    for (int64_t i = task * block; i < std::min(x.size, (task + 1) * block); i++)
      y[i] = x.data[i] * mask(i);
  });
}

const Spec spec{"TunebookDropout", {"x: float", "seed: int32"}, {"y: float"}, {"rate: float"}};
const Op<spec, dropout> op;

}  // namespace
}  // namespace tunebook
