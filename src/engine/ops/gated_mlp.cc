// A whole gated MLP block, norm and residual included, forward and backward; see gated_mlp.ts.
#include "../native/norm.h"
#include "../native/projection.h"

namespace tunebook {
namespace {

enum Slot { kNorm = 8, kNormPacked, kAct, kActPacked, kDown, kGate };  // of scratch memory; those of projections are behind

struct Parts {
  Input<float> x, gain;
  Input<int32_t> seeds;
  Projection gate, up, down;
  float eps;
  long rows;
  explicit Parts(Call& call)
      : x(call.input<float>(0)), gain(call.input<float>(1)), seeds(call.input<int32_t>(14)), gate(call, 2, 0, seeds.data[0], 0),
        up(call, 6, 3, seeds.data[1], 1), down(call, 10, 6, seeds.data[2], 2), eps(call.attribute(9)), rows(x.rows()) {
    if (gate.in != x.dim(-1) || gain.size != gate.in || up.in != gate.in || up.out != gate.out || down.in != gate.out || down.out != gate.in)
      throw std::invalid_argument("gated MLP: the projections do not fit each other");
  }
  float* norm() const {
    float* n = scratch(kNorm, rows * gate.in);
    forRows(rows, gate.in, [&](long i) { rmsNormRow(x.data + i * gate.in, gain.data, gate.in, eps, n + i * gate.in); });
    return n;
  }
};

template <class P>
void forward(Call& call) {
  const Parts m(call);
  const long rows = m.rows, inner = m.gate.out, hidden = m.gate.in;
  Shape shape = m.x.shape;
  float* y = call.output(0, shape);
  shape.back() = inner;
  float* gate = call.output(1, shape);
  float* up = call.output(2, shape);
  const Shared<P> n(m.norm(), rows, hidden, kNormPacked);
  project<P>(m.gate, n, call.output(3, {rows, m.gate.rank}), {gate, inner, 1});
  project<P>(m.up, n, call.output(4, {rows, m.up.rank}), {up, inner, 1});
  float* act = scratch(kAct, rows * inner);
  swiglu(gate, up, rows * inner, act);
  forRows(rows, hidden, [&](long i) { std::memcpy(y + i * hidden, m.x.data + i * hidden, hidden * 4); });
  project<P>(m.down, Shared<P>(act, rows, inner, kActPacked), call.output(5, {rows, m.down.rank}), {y, hidden, 1, 1, true});
}

template <class P>
void backward(Call& call) {
  const Parts m(call);
  const auto gate = call.input<float>(15), up = call.input<float>(16), uGate = call.input<float>(17), uUp = call.input<float>(18),
             uDown = call.input<float>(19), dy = call.input<float>(20);
  const long rows = m.rows, inner = m.gate.out, hidden = m.gate.in;
  float* dx = call.output(0, m.x.shape);
  float* grads[6];
  const Projection* projections[] = {&m.gate, &m.up, &m.down};
  for (int i = 0; i < 3; i++) {
    grads[2 * i] = call.output(1 + 2 * i, {projections[i]->rank, projections[i]->in});
    grads[2 * i + 1] = call.output(2 + 2 * i, {projections[i]->out, projections[i]->rank});
  }
  float* act = scratch(kAct, rows * inner);
  swiglu(gate.data, up.data, rows * inner, act);
  const Pulled<P> down(m.down, dy.data, hidden, rows, act, uDown.data, grads[4], grads[5]);
  const Pulled<P>* only[] = {&down};
  float* dUp = scratch(kDown, rows * inner);
  pullBack<P>(only, 1, rows, inner, dUp);
  float* dGate = scratch(kGate, rows * inner);
  swigluBack(gate.data, up.data, dUp, rows * inner, dGate, dUp);
  const float* n = m.norm();
  const Pulled<P> pulledGate(m.gate, dGate, inner, rows, n, uGate.data, grads[0], grads[1]);
  const Pulled<P> pulledUp(m.up, dUp, inner, rows, n, uUp.data, grads[2], grads[3]);
  const Pulled<P>* both[] = {&pulledGate, &pulledUp};
  float* dn = scratch(kAct, rows * hidden);  // the activations are no longer needed
  pullBack<P>(both, 2, rows, hidden, dn);
  forRows(rows, hidden, [&](long i) {
    rmsNormRowBack(m.x.data + i * hidden, m.gain.data, dn + i * hidden, hidden, m.eps, dy.data + i * hidden, dx + i * hidden);
  });
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { backward<decltype(p)>(call); });
}

#define INPUTS                                                                                                              \
  "x: float", "gain: float", "w0: uint8", "a0: float", "b0: float", "bias0: float", "w1: uint8", "a1: float", "b1: float", \
      "bias1: float", "w2: uint8", "a2: float", "b2: float", "bias2: float", "seeds: int32"
#define ATTRIBUTES                                                                                                           \
  "kind0: int", "scale0: float", "dropout0: float", "kind1: int", "scale1: float", "dropout1: float", "kind2: int", "scale2: float", \
      "dropout2: float", "eps: float", "bf16: int"
const Spec spec{"TunebookGatedMlp",
                {INPUTS},
                {"y: float", "gate: float", "up: float", "u0: float", "u1: float", "u2: float"},
                {ATTRIBUTES}};
const Spec gradSpec{"TunebookGatedMlpGrad",
                    {INPUTS, "gate: float", "up: float", "u0: float", "u1: float", "u2: float", "dy: float"},
                    {"dx: float", "da0: float", "db0: float", "da1: float", "db1: float", "da2: float", "db2: float"},
                    {ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
