// y = x / sqrt(mean(x^2) + eps) * weight, forward and backward; see rms_norm.ts.
#include "../native/norm.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void forward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1);
  rmsNormRows(x.data, weight.data, x.rows(), x.dim(-1), call.attribute(0), call.output(0, x.shape));
}

void backward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1), dy = call.input<float>(2);
  const Asked asked(call, 1);
  float* dx = asked.output(0, x.shape);
  rmsNormBack(x.data, weight.data, dy.data, x.rows(), x.dim(-1), call.attribute(0), nullptr, dx, asked.output(1, weight.shape));
}

const Spec spec{"TunebookRmsNorm", {"x: float", "weight: float"}, {"y: float"}, {"eps: float"}};
const Spec gradSpec{"TunebookRmsNormGrad", {"x: float", "weight: float", "dy: float"}, {GRADIENTS}, {"eps: float", GRADIENT_ATTRIBUTES}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
