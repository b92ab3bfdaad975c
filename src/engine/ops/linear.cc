// One projection as an op, forward and backward; see linear.ts.
#include "../native/projection.h"

namespace tunebook {
namespace {

constexpr int kPacked = 8;  // scratch slot

template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0);
  const Projection p(call, 1, 0, call.input<int32_t>(5).data[0], 0);
  Shape shape = x.shape;
  shape.back() = p.out;
  float* y = call.output(0, shape);
  float* u = call.output(1, {x.rows(), p.rank});
  project<P>(p, Shared<P>(x.data, x.rows(), p.in, kPacked), u, {y, p.out, 1});
}

template <class P>
void backward(Call& call) {
  const auto x = call.input<float>(0), u = call.input<float>(6), dy = call.input<float>(7);
  const Projection p(call, 1, 0, call.input<int32_t>(5).data[0], 0);
  const Asked asked(call, 4);
  float* dx = asked.output(0, x.shape);
  const Pulled<P> pulled(p, dy.data, p.out, x.rows(), x.data, u.data, ProjectionGradients(asked, 1, p));
  if (!dx) return;
  const Pulled<P>* all[] = {&pulled};
  pullBack<P>(all, 1, x.rows(), p.in, dx);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookLinear", {"x: float", PROJECTION_INPUTS(0), "seeds: int32"}, {"y: float", "u: float"}, {PROJECTION_ATTRIBUTES(0), "bf16: int"}};
const Spec gradSpec{"TunebookLinearGrad",
                    {"x: float", PROJECTION_INPUTS(0), "seeds: int32", "u: float", "dy: float"},
                    {GRADIENTS},
                    {PROJECTION_ATTRIBUTES(0), "bf16: int", GRADIENT_ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
