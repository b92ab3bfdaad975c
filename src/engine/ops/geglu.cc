// y = gelu(gate) * up, forward and backward; see geglu.ts.
#include "../native/gates.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void forward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1);
  float* y = call.output(0, gate.shape);
  withGate(call.attribute(0) ? 1 : 2, [&](auto act) { gated<F32, decltype(act)>(gate.data, up.data, gate.size, y); });
}

void backward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1), dy = call.input<float>(2);
  float* dgate = call.output(0, gate.shape);
  float* dup = call.output(1, gate.shape);
  withGate(call.attribute(0) ? 1 : 2, [&](auto act) { gatedBack<F32, decltype(act)>(gate.data, up.data, dy.data, gate.size, dgate, dup); });
}

const Spec spec{"TunebookGeglu", {"gate: float", "up: float"}, {"y: float"}, {"tanh: int"}};
const Spec gradSpec{"TunebookGegluGrad", {"gate: float", "up: float", "dy: float"}, {"dgate: float", "dup: float"}, {"tanh: int"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
