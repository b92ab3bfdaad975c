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
    forRows(rows, q.in, [&](long i) { rmsNormRow(x.data + i * q.in, gain.data, q.in, eps, n + i * q.in); });
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
  float* grads[6];
  const Projection* projections[] = {&m.q, &m.k, &m.v};
  for (int i = 0; i < 3; i++) {
    grads[2 * i] = call.output(1 + 2 * i, {projections[i]->rank, projections[i]->in});
    grads[2 * i + 1] = call.output(2 + 2 * i, {projections[i]->out, projections[i]->rank});
  }
  float* turned = scratch(kTurned, m.rows * m.width);
  m.turn(dy.data, turned, -1);
  const float* n = m.norm();
  const Pulled<P> q(m.q, turned, m.width, m.rows, n, uQ.data, grads[0], grads[1]);
  const Pulled<P> k(m.k, turned + m.q.out, m.width, m.rows, n, uK.data, grads[2], grads[3]);
  const Pulled<P> v(m.v, turned + m.q.out + m.k.out, m.width, m.rows, n, uV.data, grads[4], grads[5]);
  const Pulled<P>* all[] = {&q, &k, &v};
  float* dn = scratch(kGradient, m.rows * m.q.in);
  pullBack<P>(all, 3, m.rows, m.q.in, dn);
  const long hidden = m.q.in;
  forRows(m.rows, hidden, [&](long i) {
    rmsNormRowBack(m.x.data + i * hidden, m.gain.data, dn + i * hidden, hidden, m.eps, nullptr, dx + i * hidden);
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
      "bias1: float", "w2: uint8", "a2: float", "b2: float", "bias2: float", "cos: float", "sin: float", "seeds: int32"
#define ATTRIBUTES                                                                                                           \
  "kind0: int", "scale0: float", "dropout0: float", "kind1: int", "scale1: float", "dropout1: float", "kind2: int", "scale2: float", \
      "dropout2: float", "eps: float", "bf16: int"
const Spec spec{"TunebookQkv", {INPUTS}, {"y: float", "u0: float", "u1: float", "u2: float"}, {ATTRIBUTES}};
const Spec gradSpec{"TunebookQkvGrad",
                    {INPUTS, "u0: float", "u1: float", "u2: float", "dy: float"},
                    {"dx: float", "da0: float", "db0: float", "da1: float", "db1: float", "da2: float", "db2: float"},
                    {ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
