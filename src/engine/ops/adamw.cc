// One AdamW step of one tensor, and the sum of squares that gradient clipping needs; see adamw.ts.
#include "../native/op.h"
#include "../native/pool.h"

#include <algorithm>
#include <cmath>

namespace tunebook {
namespace {

// hyper: [lr, beta1, beta2, eps, weight_decay, 1 - beta1^t, 1 - beta2^t, gradient factor]; an input, since it changes with
// every step and TensorFlow keeps a kernel for every set of attributes.
void step(Call& call) {
  const auto p = call.input<float>(0), g = call.input<float>(1), m = call.input<float>(2), v = call.input<float>(3);
  const float* h = call.input<float>(4).data;
  const float lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], decay = 1 - h[0] * h[4], factor = h[7];
  const float size = lr / h[5], root = std::sqrt(h[6]);
  float* newP = call.output(0, p.shape);
  float* newM = call.output(1, p.shape);
  float* newV = call.output(2, p.shape);
  constexpr int64_t block = 16384;
  parallelFor(static_cast<int>((p.size + block - 1) / block), [&](int task, int) {
    for (int64_t i = task * block; i < std::min(p.size, (task + 1) * block); i++) {
      const float gradient = g.data[i] * factor;
      newM[i] = beta1 * m.data[i] + (1 - beta1) * gradient;
      newV[i] = beta2 * v.data[i] + (1 - beta2) * gradient * gradient;
      newP[i] = p.data[i] * decay - size * newM[i] / (std::sqrt(newV[i]) / root + eps);
    }
  });
}

void sumOfSquares(Call& call) {
  const auto x = call.input<float>(0);
  double total = 0;
  for (int64_t i = 0; i < x.size; i++) total += static_cast<double>(x.data[i]) * x.data[i];
  call.output(0, {})[0] = static_cast<float>(total);
}

const Spec stepSpec{"TunebookAdamW", {"p: float", "g: float", "m: float", "v: float", "hyper: float"},
                    {"new_p: float", "new_m: float", "new_v: float"}, {}};
const Spec squaresSpec{"TunebookSumOfSquares", {"x: float"}, {"y: float"}, {}};
const Op<stepSpec, step> stepOp;
const Op<squaresSpec, sumOfSquares> squaresOp;

}  // namespace
}  // namespace tunebook
