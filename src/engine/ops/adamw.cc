// One AdamW step of many tensors at once, in place, and the sum of squares that gradient clipping needs; see adamw.ts.
#include "../native/many.h"
#include "../native/op.h"

#include <cmath>

namespace tunebook {
namespace {

// hyper: [lr, beta1, beta2, eps, weight_decay, 1 - beta1^t, 1 - beta2^t, gradient factor]; an input, since it changes with
// every step and TensorFlow keeps a kernel for every set of attributes.
void step(Call& call) {
  const int n = call.attribute(0);
  const Many p(call, 0, n), g(call, n, n), m(call, 2 * n, n), v(call, 3 * n, n);
  p.mustFit(g);
  p.mustFit(m);
  p.mustFit(v);
  const float* h = call.input<float>(4 * n).data;
  const float lr = h[0], beta1 = h[1], beta2 = h[2], eps = h[3], decay = 1 - h[0] * h[4], factor = h[7];
  const float size = lr / h[5], root = std::sqrt(h[6]);
  p.forPieces([&](int t, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      const float gradient = g[t][i] * factor;
      m[t][i] = beta1 * m[t][i] + (1 - beta1) * gradient;
      v[t][i] = beta2 * v[t][i] + (1 - beta2) * gradient * gradient;
      p[t][i] = p[t][i] * decay - size * m[t][i] / (std::sqrt(v[t][i]) / root + eps);
    }
  });
}

void sumOfSquares(Call& call) {
  const int n = call.attribute(0);
  const Many x(call, 0, n);
  std::vector<double> parts(n);
  parallelFor(n, [&](int t, int) {
    for (int64_t i = 0; i < x.size(t); i++) parts[t] += static_cast<double>(x[t][i]) * x[t][i];
  });
  double total = 0;
  for (double part : parts) total += part;
  call.output(0, {})[0] = static_cast<float>(total);
}

const Spec stepSpec{"TunebookAdamW", {"p: N * float", "g: N * float", "m: N * float", "v: N * float", "hyper: float"}, {}, {"N: int"}};
const Spec squaresSpec{"TunebookSumOfSquares", {"x: N * float"}, {"y: float"}, {"N: int"}};
const Op<stepSpec, step> stepOp;
const Op<squaresSpec, sumOfSquares> squaresOp;

}  // namespace
}  // namespace tunebook
