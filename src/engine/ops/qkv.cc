// Norm, query, key and value projections and rotation as one op, forward and backward; see qkv.ts.
#include "../native/qkv.h"

namespace tunebook {
namespace {

constexpr int kTurned = 11;  // scratch slot

template <class P>
void forward(Call& call) {
  const Qkv m(call);
  float* y = call.output(0, {m.x.dim(0), m.x.dim(1), m.width / m.dim, m.dim});
  m.forward<P>(y, y, call.output(1, {m.rows, m.q.rank}), call.output(2, {m.rows, m.k.rank}), call.output(3, {m.rows, m.v.rank}));
}

template <class P>
void backward(Call& call) {
  const Qkv m(call);
  const auto uQ = call.input<float>(20), uK = call.input<float>(21), uV = call.input<float>(22), y = call.input<float>(23), dy = call.input<float>(24);
  const QkvGradients d(Asked(call, 11), m);
  float* turned = scratch(kTurned, m.rows * m.width);
  m.turn(dy.data, turned, -1);
  m.backward<P>(y.data, static_cast<const float*>(turned), uQ.data, uK.data, uV.data, d, nullptr);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { backward<decltype(p)>(call); });
}

#define KEPT "u0: float", "u1: float", "u2: float"
const Spec spec{"TunebookQkv", {QKV_INPUTS}, {"y: float", KEPT}, {QKV_ATTRIBUTES}};
const Spec gradSpec{"TunebookQkvGrad",
                    {QKV_INPUTS, KEPT, "y: float", "dy: float"},
                    {GRADIENTS},
                    {QKV_ATTRIBUTES, GRADIENT_ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
