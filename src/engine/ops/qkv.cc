// Norm, query, key and value projections and rotation as one op, forward and backward; see qkv.ts.
#include "../native/norm.h"
#include "../native/projection.h"

namespace tunebook {
namespace {

enum Slot { kNorm = 8, kNormPacked, kTurned, kGradient };  // of scratch memory; those of projections are behind

struct Parts {
  Input<float> x, gain, cos, sin;
  Input<int32_t> seeds;
  Projection q, k, v;
  float eps;
  long dim, rows, width;
  explicit Parts(Call& call)
      : x(call.input<float>(0)), gain(call.input<float>(1)), cos(call.input<float>(14)), sin(call.input<float>(15)),
        seeds(call.input<int32_t>(16)), q(call, 2, 0, seeds.data[0], 0), k(call, 6, 3, seeds.data[1], 1),
        v(call, 10, 6, seeds.data[2], 2), eps(call.attribute(9)), dim(cos.dim(-1) * 2), rows(x.rows()), width(q.out + k.out + v.out) {
    if (gain.size != q.in || x.dim(-1) != q.in || k.in != q.in || v.in != q.in || q.out % dim || k.out % dim || v.out != k.out ||
        cos.dim(0) != x.dim(-2) || sin.size != cos.size)
      throw std::invalid_argument("qkv: the projections do not fit each other or the tables");
  }
  const float* norm() const {
    float* n = scratch(kNorm, rows * q.in);
    rmsNormRows(x.data, gain.data, rows, q.in, eps, n);
    return n;
  }
  void turn(const float* from, float* to, float sign) const {
    rotate(from, to, rows, width, (q.out + k.out) / dim, dim, cos.data, sin.data, x.dim(-2), sign);
  }
};

template <class P>
void forward(Call& call) {
  const Parts m(call);
  float* y = call.output(0, {m.x.dim(0), m.x.dim(1), m.width / m.dim, m.dim});
  const Shared<P> n(m.norm(), m.rows, m.q.in, kNormPacked);
  project<P>(m.q, n, call.output(1, {m.rows, m.q.rank}), {y, m.width, 1});
  project<P>(m.k, n, call.output(2, {m.rows, m.k.rank}), {y + m.q.out, m.width, 1});
  project<P>(m.v, n, call.output(3, {m.rows, m.v.rank}), {y + m.q.out + m.k.out, m.width, 1});
  m.turn(y, y, 1);
}

template <class P>
void backward(Call& call) {
  const Parts m(call);
  const auto uQ = call.input<float>(17), uK = call.input<float>(18), uV = call.input<float>(19), dy = call.input<float>(20);
  float* dx = call.output(0, m.x.shape);
  const PairGradients qPair(call, 1, m.q), kPair(call, 3, m.k), vPair(call, 5, m.v);
  float* turned = scratch(kTurned, m.rows * m.width);
  m.turn(dy.data, turned, -1);
  const float* n = m.norm();
  const Pulled<P> q(m.q, turned, m.width, m.rows, n, uQ.data, qPair);
  const Pulled<P> k(m.k, turned + m.q.out, m.width, m.rows, n, uK.data, kPair);
  const Pulled<P> v(m.v, turned + m.q.out + m.k.out, m.width, m.rows, n, uV.data, vPair);
  const Pulled<P>* all[] = {&q, &k, &v};
  float* dn = scratch(kGradient, m.rows * m.q.in);
  pullBack<P>(all, 3, m.rows, m.q.in, dn);
  rmsNormRowsBack(m.x.data, m.gain.data, dn, m.rows, m.q.in, m.eps, nullptr, dx);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { backward<decltype(p)>(call); });
}

#define INPUTS \
  "x: float", "gain: float", PROJECTION_INPUTS(0), PROJECTION_INPUTS(1), PROJECTION_INPUTS(2), "cos: float", "sin: float", "seeds: int32"
#define KEPT "u0: float", "u1: float", "u2: float"
#define ATTRIBUTES PROJECTION_ATTRIBUTES(0), PROJECTION_ATTRIBUTES(1), PROJECTION_ATTRIBUTES(2), "eps: float", "bf16: int"
const Spec spec{"TunebookQkv", {INPUTS}, {"y: float", KEPT}, {ATTRIBUTES}};
const Spec gradSpec{"TunebookQkvGrad",
                    {INPUTS, KEPT, "dy: float"},
                    {"dx: float", PROJECTION_GRADIENTS(0), PROJECTION_GRADIENTS(1), PROJECTION_GRADIENTS(2)},
                    {ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
