// y = x / sqrt(mean(x^2) + eps) * weight, forward and backward; see rms_norm.ts.
#include "../native/elementwise.h"
#include "../native/norm.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void forward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1);
  const float eps = call.attribute(0);
  float* y = call.output(0, x.shape);
  const long dim = x.dim(-1);
  forRows(x.rows(), dim, [&](long i) { rmsNormRow(x.data + i * dim, weight.data, dim, eps, y + i * dim); });
}

// The gradient of the weight is the sum over rows of dy x s, with s the inverse root.
void backward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1), dy = call.input<float>(2);
  const float eps = call.attribute(0);
  const long dim = x.dim(-1), rows = x.rows();
  float* dx = call.output(0, x.shape);
  float* dw = call.output(1, weight.shape);
  forRows(rows, dim, [&](long i) { rmsNormRowBack(x.data + i * dim, weight.data, dy.data + i * dim, dim, eps, nullptr, dx + i * dim); });
  float* scales = scratch(0, rows);
  for (long i = 0; i < rows; i++) scales[i] = rmsScale(x.data + i * dim, dim, eps);
  // Columns are what the threads share: each sum is made in the order of the rows.
  constexpr long block = 64;
  parallelFor(static_cast<int>((dim + block - 1) / block), [&](int task, int) {
    const long from = task * block, count = std::min(block, dim - from);
    float sums[block] = {};
    for (long i = 0; i < rows; i++)
      for (long j = 0; j < count; j++) sums[j] += dy.data[i * dim + from + j] * x.data[i * dim + from + j] * scales[i];
    std::memcpy(dw + from, sums, count * 4);
  });
}

const Spec spec{"TunebookRmsNorm", {"x: float", "weight: float"}, {"y: float"}, {"eps: float"}};
const Spec gradSpec{"TunebookRmsNormGrad", {"x: float", "weight: float", "dy: float"}, {"dx: float", "dw: float"}, {"eps: float"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
