// y = x / sqrt(mean(x^2) + eps) * weight, forward and backward; see rms_norm.ts.
#include "../native/norm.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void forward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1);
  rmsNormRows(x.data, weight.data, x.rows(), x.dim(-1), call.attribute(0), call.output(0, x.shape));
}

// The gradient of the weight is the sum over rows of dy x s, with s the inverse root.
void backward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1), dy = call.input<float>(2);
  const float eps = call.attribute(0);
  const long dim = x.dim(-1), rows = x.rows();
  rmsNormRowsBack(x.data, weight.data, dy.data, rows, dim, eps, nullptr, call.output(0, x.shape));
  float* scales = scratch(0, rows);
  for (long i = 0; i < rows; i++) scales[i] = rmsScale(x.data + i * dim, dim, eps);
  sumOverRows(rows, dim, [&](long i, long j) { return dy.data[i * dim + j] * x.data[i * dim + j] * scales[i]; }, call.output(1, weight.shape));
}

const Spec spec{"TunebookRmsNorm", {"x: float", "weight: float"}, {"y: float"}, {"eps: float"}};
const Spec gradSpec{"TunebookRmsNormGrad", {"x: float", "weight: float", "dy: float"}, {"dx: float", "dw: float"}, {"eps: float"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
