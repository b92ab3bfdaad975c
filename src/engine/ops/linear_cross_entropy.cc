// The cross-entropy of a frozen output matrix as an op; see linear_cross_entropy.ts.
#include "../native/cross_entropy.h"
#include "../native/op.h"

namespace tunebook {
namespace {

template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0);
  const auto w = call.input<uint8_t>(1);  // or floats
  const auto labels = call.input<int32_t>(2);
  const long vocabulary = call.attribute(1), rows = x.rows(), dim = x.dim(-1);
  const bool gradient = call.attribute(2) != 0;
  const Weight weight{w.data, static_cast<int64_t>(call.attribute(0)), vocabulary, dim};
  if (w.bytes != Weight::rowBytes(weight.kind, dim) * vocabulary || labels.size != rows)
    throw std::invalid_argument("cross-entropy: a weight of " + std::to_string(w.bytes) + " bytes and " + std::to_string(labels.size) +
                                " labels do not fit " + std::to_string(rows) + " rows over [" + std::to_string(vocabulary) + ", " + std::to_string(dim) + "]");
  float* loss = call.output(0, {rows});
  float* dx = call.output(1, gradient ? Shape{rows, dim} : Shape{0});
  crossEntropy<P>(x.data, rows, weight, labels.data, loss, gradient ? dx : nullptr);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { forward<decltype(p)>(call); });
}

const Spec spec{"TunebookLinearCrossEntropy", {"x: float", "w: T", "labels: int32"}, {"loss: float", "dx: float"},
                {"kind: int", "vocabulary: int", "gradient: int", "bf16: int"}};
const Op<spec, forwardAny> op;

}  // namespace
}  // namespace tunebook
