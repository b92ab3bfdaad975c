// Norm, query, key and value projections and rotation, forward and backward; see ops/qkv.ts.
#pragma once
#include "norm.h"
#include "projection.h"

namespace tunebook {

struct QkvGradients;

// What stands in an op's first 20 inputs and 10 attributes.
struct Qkv {
  Input<float> x, gain, cos, sin;
  Input<int32_t> seeds;
  Projection q, k, v;
  float eps;
  long dim, rows, width;
  explicit Qkv(Call& call)
      : x(call.input<float>(0)), gain(call.input<float>(1)), cos(call.input<float>(17)), sin(call.input<float>(18)),
        seeds(call.input<int32_t>(19)), q(call, 2, 0, seeds.data[0], 0), k(call, 7, 3, seeds.data[1], 1),
        v(call, 12, 6, seeds.data[2], 2), eps(call.attribute(9)), dim(cos.dim(-1) * 2), rows(x.rows()), width(q.out + k.out + v.out) {
    if (gain.size != q.in || x.dim(-1) != q.in || k.in != q.in || v.in != q.in || q.out % dim || k.out % dim || v.out != k.out ||
        cos.dim(0) != x.dim(-2) || sin.size != cos.size)
      throw std::invalid_argument("qkv: the projections do not fit each other or the tables");
    if (q.inScale || k.inScale || v.inScale) throw std::invalid_argument("qkv: what goes in serves three projections and cannot be scaled for one");
  }
  template <class T>
  void turn(const float* from, T* to, float sign) const {
    rotate(from, to, rows, width, (q.out + k.out) / dim, dim, cos.data, sin.data, x.dim(-2), sign);
  }

  // y [rows, width], which may be rounded to T on the way from `straight`, and x A^T of the three pairs.
  template <class P, class T>
  void forward(float* straight, T* y, float* uQ, float* uK, float* uV) const {
    const Shared<P> n(rows, q.in, q.rate || k.rate || v.rate, kNorm, kNormPacked,
                      [&](long i, float* line) { rmsNormRow(x.data + i * q.in, gain.data, q.in, eps, line); });
    project<P>(q, n, uQ, {straight, width, 1});
    project<P>(k, n, uK, {straight + q.out, width, 1});
    project<P>(v, n, uV, {straight + q.out + k.out, width, 1});
    turn(straight, y, 1);
  }

  // `turned` is the gradient of y, already turned back; `beside`, another gradient of x, may be null. y is looked at only where
  // results are scaled.
  template <class P, class T, class Y>
  void backward(const Y* y, const T* turned, const float* uQ, const float* uK, const float* uV, const QkvGradients& d, const float* beside) const;

 private:
  template <class T, class Y>
  void scalesBack(const Y* y, const T* turned, const QkvGradients& d) const;

  enum Slot { kNorm = 8, kNormPacked, kGradient };  // of scratch memory; those of projections are behind
};

// The gradients of its first 17 inputs in the order of Asked.
struct QkvGradients {
  float *x, *gain;
  ProjectionGradients q, k, v;
  QkvGradients(const Asked& asked, const Qkv& m)
      : x(asked.output(0, m.x.shape)), gain(asked.output(1, {m.q.in})), q(asked, 2, m.q), k(asked, 7, m.k), v(asked, 12, m.v) {}
};

template <class T, class Y>
void Qkv::scalesBack(const Y* y, const T* turned, const QkvGradients& d) const {
  if (!d.q.l && !d.k.l && !d.v.l) return;
  float* straight = scratch(kGradient, rows * width);
  turn(recalled(y, kNorm, rows * width), straight, -1);
  // There and back, the tables' own factor (yarn) counts twice.
  const float stretch = cos.data[0] * cos.data[0] + sin.data[0] * sin.data[0];
  long from = 0;
  const auto back = [&](const Projection& p, float factor, float* dl) {
    outScaleBack(p, rows, [&](long i, long j) { return straight[i * width + from + j] / factor; }, [&](long i, long j) { return turned[i * width + from + j]; }, dl);
    from += p.out;
  };
  back(q, stretch, d.q.l);
  back(k, stretch, d.k.l);
  back(v, 1, d.v.l);
}

template <class P, class T, class Y>
void Qkv::backward(const Y* y, const T* turned, const float* uQ, const float* uK, const float* uV, const QkvGradients& d, const float* beside) const {
  scalesBack(y, turned, d);
  auto* n = reinterpret_cast<typename P::Kept*>(scratch(kNorm, rows * q.in));
  rmsNormRows(x.data, gain.data, rows, q.in, eps, n);
  const Pulled<P> pulledQ(q, turned, width, rows, n, uQ, d.q);
  const Pulled<P> pulledK(k, turned + q.out, width, rows, n, uK, d.k);
  const Pulled<P> pulledV(v, turned + q.out + k.out, width, rows, n, uV, d.v);
  if (!d.x && !d.gain) return;
  const Pulled<P>* all[] = {&pulledQ, &pulledK, &pulledV};
  float* dn = scratch(kGradient, rows * q.in);
  pullBack<P>(all, 3, rows, q.in, dn);
  rmsNormBack(x.data, gain.data, dn, rows, q.in, eps, beside, d.x, d.gain);
}

#define QKV_INPUTS \
  "x: float", "gain: float", PROJECTION_INPUTS(0), PROJECTION_INPUTS(1), PROJECTION_INPUTS(2), "cos: float", "sin: float", "seeds: int32"
#define QKV_ATTRIBUTES PROJECTION_ATTRIBUTES(0), PROJECTION_ATTRIBUTES(1), PROJECTION_ATTRIBUTES(2), "eps: float", "bf16: int"

}  // namespace tunebook
