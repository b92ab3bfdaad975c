// The cross-entropy of a trained output matrix with its gradients; see dense_cross_entropy.ts.
#include "../native/cross_entropy.h"
#include "../native/op.h"

namespace tunebook {
namespace {

template <class P>
void compute(Call& call) {
  const auto x = call.input<float>(0), w = call.input<float>(1);
  const auto labels = call.input<int32_t>(2);
  const long rows = x.rows();
  const float factor = call.attribute(0);
  if (labels.size != rows || w.dim(-1) != x.dim(-1)) throw std::invalid_argument("cross-entropy: x, the matrix and the labels do not fit each other");
  std::vector<float> losses(rows);
  float* sum = call.output(0, {});
  crossEntropy<P>(x.data, rows, dense(w.data, w.dim(0), w.dim(1)), labels.data, losses.data(), call.output(1, x.shape), factor, call.output(2, w.shape));
  *sum = 0;
  for (float loss : losses) *sum += factor * loss;
}

void computeAny(Call& call) {
  withPrecision(call.attribute(1), [&](auto p) { compute<decltype(p)>(call); });
}

const Spec spec{"TunebookDenseCrossEntropy", {"x: float", "w: float", "labels: int32"}, {"sum: float", "dx: float", "dw: float"},
                {"factor: float", "bf16: int"}};
const Op<spec, computeAny> op;

}  // namespace
}  // namespace tunebook
