// A product with a trained fp32 matrix, forward and backward; see dense.ts.
#include "../native/projection.h"

namespace tunebook {
namespace {

template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0), w = call.input<float>(1);
  Shape shape = x.shape;
  shape.back() = w.dim(0);
  const Projection p(dense(w.data, w.dim(0), w.dim(1)));
  project<P>(p, Shared<P>(x.data, x.rows(), p.in, 8), nullptr, {call.output(0, shape), p.out, 1});
}

// dx = dy W, dW = dy^T x
template <class P>
void backward(Call& call) {
  const auto x = call.input<float>(0), w = call.input<float>(1), dy = call.input<float>(2);
  const long out = w.dim(0), in = w.dim(1), rows = x.rows();
  const PlainRight weight(dense(w.data, out, in));
  const Term<P> back{rowsOf<P>(Left{dy.data, out, 1}, rows, out, 8), &weight};
  gemm<P>(rows, in, &back, 1, {call.output(0, x.shape), in, 1});
  const StridedRight values(x.data, rows, in, 1);
  const Term<P> across{rowsOf<P>(Left{dy.data, 1, out}, out, rows, 8), &values};
  gemm<P>(out, in, &across, 1, {call.output(1, w.shape), in, 1});
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(0), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(0), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookDense", {"x: float", "w: float"}, {"y: float"}, {"bf16: int"}};
const Spec gradSpec{"TunebookDenseGrad", {"x: float", "w: float", "dy: float"}, {"dx: float", "dw: float"}, {"bf16: int"}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
