// A whole gated MLP block, norm and residual included, forward and backward; see gated_mlp.ts.
#include "../native/gates.h"
#include "../native/norm.h"
#include "../native/projection.h"

namespace tunebook {
namespace {

enum Slot { kNorm = 8, kNormPacked, kAct, kActPacked, kUpGradient, kGateGradient };  // of scratch memory; those of projections are behind

struct Parts {
  Input<float> x, gain;
  Input<int32_t> seeds;
  Projection gate, up, down;
  float eps;
  long rows;
  bool residual;
  explicit Parts(Call& call)
      : x(call.input<float>(0)), gain(call.input<float>(1)), seeds(call.input<int32_t>(17)), gate(call, 2, 0, seeds.data[0], 0),
        up(call, 7, 3, seeds.data[1], 1), down(call, 12, 6, seeds.data[2], 2), eps(call.attribute(9)), rows(x.rows()), residual(call.attribute(11) != 0) {
    if (gate.in != x.dim(-1) || gain.size != gate.in || up.in != gate.in || up.out != gate.out || down.in != gate.out || down.out != gate.in)
      throw std::invalid_argument("gated MLP: the projections do not fit each other");
    if (gate.inScale || up.inScale) throw std::invalid_argument("gated MLP: what goes in serves two projections and cannot be scaled for one");
  }
};

template <class P, class A>
void forward(Call& call) {
  const Parts m(call);
  const long rows = m.rows, inner = m.gate.out, hidden = m.gate.in;
  float* y = call.output(0, m.x.shape);
  auto* gate = keptOutput<P>(call, 1, rows * inner);
  auto* up = keptOutput<P>(call, 2, rows * inner);
  const Shared<P> n(rows, hidden, m.gate.rate || m.up.rate, kNorm, kNormPacked,
                    [&](long i, float* line) { rmsNormRow(m.x.data + i * hidden, m.gain.data, hidden, m.eps, line); });
  project<P>(m.gate, n, call.output(3, {rows, m.gate.rank}), Target::kept(gate, inner));
  project<P>(m.up, n, call.output(4, {rows, m.up.rank}), Target::kept(up, inner));
  const Shared<P> act(rows, inner, m.down.rate, kAct, kActPacked,
                      [&](long i, float* line) { gatedRow<P, A>(gate + i * inner, up + i * inner, inner, line); });
  project<P>(m.down, act, call.output(5, {rows, m.down.rank}), {y, hidden, 1, 1, m.residual ? m.x.data : nullptr});
}

template <class P, class A>
void backward(Call& call) {
  const Parts m(call);
  const auto *gate = keptInput<P>(call, 18), *up = keptInput<P>(call, 19);
  const auto uGate = call.input<float>(20), uUp = call.input<float>(21), uDown = call.input<float>(22), y = call.input<float>(23), dy = call.input<float>(24);
  const long rows = m.rows, inner = m.gate.out, hidden = m.gate.in;
  const Asked asked(call, 13);
  float *dx = asked.output(0, m.x.shape), *gain = asked.output(1, m.gain.shape);
  const ProjectionGradients ofGate(asked, 2, m.gate), ofUp(asked, 7, m.up), ofDown(asked, 12, m.down);
  using T = typename P::Kept;
  const auto made = [](Slot slot, long size) { return reinterpret_cast<T*>(scratch(slot, size)); };
  T* act = made(kAct, rows * inner);
  gated<P, A>(gate, up, rows * inner, act);
  const Pulled<P> down(m.down, dy.data, hidden, rows, act, uDown.data, ofDown);
  const Pulled<P>* only[] = {&down};
  T* dUp = made(kUpGradient, rows * inner);
  if (m.down.rate == 0) pullBack<P>(only, 1, rows, inner, dUp);
  else {
    float* sums = scratch(kGateGradient, rows * inner);
    pullBack<P>(only, 1, rows, inner, sums);
    convertAll(sums, dUp, rows * inner);
  }
  outScaleBack(m.down, rows, [&](long i, long j) { return y.data[i * hidden + j] - (m.residual ? m.x.data[i * hidden + j] : 0); },
               [&](long i, long j) { return dy.data[i * hidden + j]; }, ofDown.l);
  inScaleBack(m.down, rows, act, dUp, ofDown.l);
  T* dGate = made(kGateGradient, rows * inner);
  gatedBack<P, A>(gate, up, dUp, rows * inner, dGate, dUp);
  const auto at = [&](const T* values) { return [=](long i, long j) { return values[i * inner + j]; }; };
  outScaleBack(m.gate, rows, at(gate), at(dGate), ofGate.l);
  outScaleBack(m.up, rows, at(up), at(dUp), ofUp.l);
  T* n = made(kNorm, rows * hidden);
  rmsNormRows(m.x.data, m.gain.data, rows, hidden, m.eps, n);
  const Pulled<P> pulledGate(m.gate, dGate, inner, rows, n, uGate.data, ofGate);
  const Pulled<P> pulledUp(m.up, dUp, inner, rows, n, uUp.data, ofUp);
  if (!dx && !gain) return;
  const Pulled<P>* both[] = {&pulledGate, &pulledUp};
  float* dn = scratch(kAct, rows * hidden);  // the activations are no longer needed
  pullBack<P>(both, 2, rows, hidden, dn);
  rmsNormBack(m.x.data, m.gain.data, dn, rows, hidden, m.eps, m.residual ? dy.data : nullptr, dx, gain);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { withGate(call.attribute(12), [&](auto a) { forward<decltype(p), decltype(a)>(call); }); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { withGate(call.attribute(12), [&](auto a) { backward<decltype(p), decltype(a)>(call); }); });
}

#define INPUTS "x: float", "gain: float", PROJECTION_INPUTS(0), PROJECTION_INPUTS(1), PROJECTION_INPUTS(2), "seeds: int32"
#define KEPT "gate: float", "up: float", "u0: float", "u1: float", "u2: float"
#define ATTRIBUTES PROJECTION_ATTRIBUTES(0), PROJECTION_ATTRIBUTES(1), PROJECTION_ATTRIBUTES(2), "eps: float", "bf16: int", "residual: int", "act: int"
const Spec spec{"TunebookGatedMlp", {INPUTS}, {"y: float", KEPT}, {ATTRIBUTES}};
const Spec gradSpec{"TunebookGatedMlpGrad",
                    {INPUTS, KEPT, "y: float", "dy: float"},
                    {GRADIENTS},
                    {ATTRIBUTES, GRADIENT_ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
