// y = silu(gate) * up, forward and backward; see swiglu.ts.
#include "../native/elementwise.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void forward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1);
  swiglu<F32>(gate.data, up.data, gate.size, call.output(0, gate.shape));
}

void backward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1), dy = call.input<float>(2);
  float* dgate = call.output(0, gate.shape);
  swigluBack<F32>(gate.data, up.data, dy.data, gate.size, dgate, call.output(1, gate.shape));
}

const Spec spec{"TunebookSwiglu", {"gate: float", "up: float"}, {"y: float"}, {}};
const Spec gradSpec{"TunebookSwigluGrad", {"gate: float", "up: float", "dy: float"}, {"dgate: float", "dup: float"}, {}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
