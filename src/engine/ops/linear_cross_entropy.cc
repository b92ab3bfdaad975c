// The cross-entropy of a frozen output head as an op; see linear_cross_entropy.ts.
#include "../native/head.h"

namespace tunebook {
namespace {

template <class P>
void forward(Call& call) {
  const Head head(call);
  const bool gradient = call.attribute(4) != 0;
  float* loss = call.output(0, {head.rows});
  HeadGradients to;
  float* dx = call.output(1, gradient ? Shape{head.rows, head.dim} : Shape{0});
  if (gradient) to.x = dx;
  tell(call, 2, crossEntropy<P>(head.x, head.rows, head.weight, head.pair, head.labels, loss, to, head.cap));
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(2), [&](auto p) { forward<decltype(p)>(call); });
}

const Spec spec{"TunebookLinearCrossEntropy", {HEAD_INPUTS}, {"loss: float", "dx: float", HEAD_FIGURES}, {HEAD_ATTRIBUTES, "gradient: int"}};
const Op<spec, forwardAny> op;

}  // namespace
}  // namespace tunebook
