// One projection as an op, forward and backward; see linear.ts.
#include "../native/projection.h"

namespace tunebook {
namespace {

constexpr int kPacked = 8;  // scratch slot

template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0);
  const Projection p(call, 1, 0, call.input<int32_t>(6).data[0], 0);
  Shape shape = x.shape;
  shape.back() = p.out;
  float* y = call.output(0, shape);
  float* u = call.output(1, {x.rows(), p.rank});
  project<P>(p, Shared<P>(x.data, x.rows(), p.in, kPacked), u, {y, p.out, 1});
}

template <class P>
void backward(Call& call) {
  const auto x = call.input<float>(0), u = call.input<float>(7), y = call.input<float>(8), dy = call.input<float>(9);
  const Projection p(call, 1, 0, call.input<int32_t>(6).data[0], 0);
  const Asked asked(call, 4);
  const long rows = x.rows();
  float* dx = asked.output(0, x.shape);
  const ProjectionGradients d(asked, 1, p);
  const Pulled<P> pulled(p, dy.data, p.out, rows, x.data, u.data, d);
  const auto at = [&](const float* values) { return [=, &p](long i, long j) { return values[i * p.out + j]; }; };
  outScaleBack(p, rows, at(y.data), at(dy.data), d.l);
  if (!dx && !(d.l && p.inScale)) return;
  const Pulled<P>* all[] = {&pulled};
  if (!dx) dx = scratch(kPacked, rows * p.in);
  pullBack<P>(all, 1, rows, p.in, dx);
  inScaleBack(p, rows, x.data, static_cast<const float*>(dx), d.l);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookLinear", {"x: float", PROJECTION_INPUTS(0), "seeds: int32"}, {"y: float", "u: float"}, {PROJECTION_ATTRIBUTES(0), "bf16: int"}};
const Spec gradSpec{"TunebookLinearGrad",
                    {"x: float", PROJECTION_INPUTS(0), "seeds: int32", "u: float", "y: float", "dy: float"},
                    {GRADIENTS},
                    {PROJECTION_ATTRIBUTES(0), "bf16: int", GRADIENT_ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
