// A matrix with a bias and a low-rank pair beside it, each frozen or trained, as ops use one or several of them:
//   y = x W^T + bias + scale (dropout(x) A^T) B^T
// A vector l may scale what goes in, l [1, in] and no pair, or what comes out, l [out, 1]: the matrix's columns or rows are scaled
// while they are packed, so that it costs no pass over x or y.
#pragma once
#include "elementwise.h"
#include "gemm.h"
#include "mask.h"
#include "op.h"

// What an op's Spec says of its projection number n: 5 inputs, and 3 attributes.
#define PROJECTION_INPUTS(n) "w" #n ": T" #n, "a" #n ": float", "b" #n ": float", "bias" #n ": float", "l" #n ": float"
#define PROJECTION_ATTRIBUTES(n) "kind" #n ": int", "scale" #n ": float", "dropout" #n ": float"

namespace tunebook {

// `size` values kept for the backward pass as P keeps them: what stands in the tensor's floats is P's own business.
template <class P>
typename P::Kept* keptOutput(Call& call, int i, int64_t size) {
  return reinterpret_cast<typename P::Kept*>(call.output(i, {static_cast<int64_t>((size * sizeof(typename P::Kept) + 3) / 4)}));
}

template <class P>
const typename P::Kept* keptInput(Call& call, int i) { return reinterpret_cast<const typename P::Kept*>(call.input<float>(i).data); }

struct Projection {
  Weight weight;       // [out, in]
  const float *a, *b;  // [rank, in], [out, rank]
  const float* bias;   // [out], or null; scaled like what comes out
  const float *inScale = nullptr, *outScale = nullptr;
  long in, out, rank;
  float scale;
  double rate;
  Mask mask;
  int slot;  // first of the scratch slots that are its own: 6 of the calling thread's

  // The weight alone.
  explicit Projection(const Weight& w)
      : weight(w), a(nullptr), b(nullptr), bias(nullptr), in(w.columns), out(w.rows), rank(0), scale(0), rate(0), mask(0, 0), slot(16) {}
  Projection(const Projection&) = delete;  // it points into its vectors

  static constexpr int kInputs = 5, kAttributes = 3;
  // Call inputs from `input` on are w, a, b, bias, l; attributes from `attribute` on are kind, scale, dropout. `order` tells the
  // projections of an op apart.
  Projection(Call& call, int input, int attribute, int32_t seed, int order)
      : rate(call.attribute(attribute + 2)), mask(rate, seed), slot(16 + 6 * order) {
    const auto w = call.input<uint8_t>(input);
    const auto pairA = call.input<float>(input + 1), pairB = call.input<float>(input + 2), beside = call.input<float>(input + 3);
    rank = pairA.dim(0), in = pairA.dim(1), out = pairB.dim(0);
    const int64_t kind = call.attribute(attribute);
    if (w.bytes != Weight::bytesOf(kind, out, in) || (beside.size && beside.size != out))
      throw std::invalid_argument("linear: a weight of " + std::to_string(w.bytes) + " bytes with a bias of " +
                                  std::to_string(beside.size) + " is not [" + std::to_string(out) + ", " + std::to_string(in) + "]");
    weight = {w.data, kind, out, in};
    a = pairA.data, b = pairB.data, bias = beside.size ? beside.data : nullptr;
    scale = call.attribute(attribute + 1);
    const auto l = call.input<float>(input + 4);
    if (l.size) readScale(l);
  }

  Weight pair() const { return dense(b, out, rank, outScale); }

  // Calls f with the low-rank term's input: x itself, or x under its dropout mask in scratch memory.
  template <class T, class F>
  void withDropped(const T* x, long rows, const F& f) const {
    if (rate == 0) return f(x);
    float* y = scratch(slot, rows * in);
    forRows(rows, in, [&](long i) {
      convert(x + i * in, y + i * in, in);
      for (long k = i * in; k < (i + 1) * in; k++) y[k] *= mask(k);
    });
    f(static_cast<const float*>(y));
  }

 private:
  std::vector<float> scales_, bias_;

  void readScale(const Input<float>& l) {
    const bool goesIn = l.shape.size() == 2 && l.shape[0] == 1 && l.shape[1] == in && !(out == 1 && in == 1);
    if (!goesIn && (l.shape.size() != 2 || l.shape[0] != out || l.shape[1] != 1))
      throw std::invalid_argument("linear: a scale of " + std::to_string(l.size) + " values fits neither side of [" + std::to_string(out) + ", " + std::to_string(in) + "]");
    if (goesIn && rank) throw std::invalid_argument("linear: what goes in is scaled, so there is no room for a low-rank pair");
    scales_.assign(l.data, l.data + l.size);
    // Its gradient takes what it scaled back out of the result: nothing could be had back from a zero.
    for (float& x : scales_)
      if (std::abs(x) < 1e-30f) x = std::copysign(1e-30f, x);
    if (goesIn) {
      weight.columnScale = inScale = scales_.data();
      return;
    }
    weight.rowScale = outScale = scales_.data();
    if (!bias) return;
    bias_.resize(out);
    for (long j = 0; j < out; j++) bias_[j] = bias[j] * outScale[j];
    bias = bias_.data();
  }
};

// The gradients of a projection's tensors, inputs of the op from number `input` on in the order of Asked.
struct ProjectionGradients {
  float *w, *a, *b, *bias, *l;
  ProjectionGradients(const Asked& asked, int input, const Projection& p)
      : w(asked.output(input, {p.out, p.in})), a(asked.output(input + 1, {p.rank, p.in})), b(asked.output(input + 2, {p.out, p.rank})),
        bias(asked.output(input + 3, {p.out})), l(asked.output(input + 4, p.inScale ? Shape{1, p.in} : Shape{p.out, 1})) {}
};

// target[rows, rank] = scale * x m, with m [in, rank]
template <class P>
void down(const Rows<P>& x, long rows, const Right& right, long rank, float scale, float* target) {
  // Few columns: the rows are what the threads share.
  const int width = widthFor(rank);
  typename P::T* panels = elements<P>(2, panelSize<P>(x.inner, rank, width));
  packAll<P>(right, rank, panels, width);
  constexpr long block = 48;
  parallelFor(static_cast<int>((rows + block - 1) / block), [&](int task, int) {
    const long first = task * block, count = std::min(block, rows - first);
    multiplyPacked<P>(x.from(first), panels, count, rank, {target + first * rank, rank, 1, scale}, width);
  });
}

constexpr long kFewRows = 3;

// Up to kFewRows rows (decoding): a pass over the packed weight, no panels.
inline void projectFewRows(const Projection& p, const float* x, long rows, float* u, const Target& y) {
  if (p.inScale) {
    float* scaled = scratch(p.slot, rows * p.in);
    for (long i = 0; i < rows * p.in; i++) scaled[i] = x[i] * p.inScale[i % p.in];
    x = scaled;
  }
  const long blocks = (p.in + 31) / 32;
  float* sums = scratch(1, blocks * rows);
  for (long i = 0; i < rows; i++)
    for (long k = 0; k < blocks; k++) {
      float total = 0;
      for (long j = k * 32; j < std::min(p.in, (k + 1) * 32); j++) total += x[i * p.in + j];
      sums[i * blocks + k] = total;
    }
  p.withDropped(x, rows, [&](const float* low) {
    for (long i = 0; i < rows; i++)
      for (long r = 0; r < p.rank; r++) u[i * p.rank + r] = p.scale * dot(low + i * p.in, p.a + r * p.in, p.in);
  });
  // Waking the other threads costs as much as some hundred thousand multiplications.
  const long block = std::max<long>(32, 450'000 / (p.in * rows));
  parallelFor(static_cast<int>((p.out + block - 1) / block), [&](int task, int) {
    for (long n = task * block; n < std::min(p.out, (task + 1) * block); n++)
      for (long i = 0; i < rows; i++) {
        float value = dotRow(p.weight, n, x + i * p.in, sums + i * blocks);
        if (p.rank) value += dot(u + i * p.rank, p.b + n * p.rank, p.rank);
        y.put(i, n, p.outScale ? value * p.outScale[n] : value);
      }
  });
}

// One input, ready for several projections: x [rows, in] row by row.
template <class P>
struct Shared {
  const float* x = nullptr;
  long rows, in;
  Rows<P> packed{};
  Shared(const float* data, long n, long width, int slot) : x(data), rows(n), in(width) {
    if (rows > kFewRows) packed = rowsOf<P>(Left{x, in, 1}, rows, in, slot);
  }
  // Of values that may be bf16; fp32 stands in memory (scratch slot `plain`) only if somebody will look.
  template <class T>
  Shared(const T* data, long n, long width, bool looked, int plain, int slot) : rows(n), in(width) {
    if (rows > kFewRows && !looked) packed = rowsOf<P>(Left{data, in, 1}, rows, in, slot);
    else *this = Shared(recalled(data, plain, rows * in), rows, in, slot);
  }
  // Of rows that make(i, line) gives.
  template <class Make>
  Shared(long n, long width, bool looked, int plain, int slot, const Make& make) : rows(n), in(width) {
    if (rows > kFewRows && !looked) {
      packed = rowsMade<P>(rows, in, slot, make);
      return;
    }
    float* all = scratch(plain, rows * in);
    forRows(rows, in, [&](long i) { make(i, all + i * in); });
    *this = Shared(all, rows, in, slot);
  }
};

// Writes the result to y and scale dropout(x) A^T to u [rows, rank], which the backward pass wants.
template <class P>
void project(const Projection& p, const Shared<P>& x, float* u, Target y) {
  y.bias = p.bias;
  if (x.rows <= kFewRows) return projectFewRows(p, x.x, x.rows, u, y);
  const TransposedRight right(p.weight), pair(p.pair());
  Term<P> terms[2] = {{x.packed, &right}, {}};
  if (p.rank) {
    Rows<P> low = x.packed;
    if (p.rate) p.withDropped(x.x, x.rows, [&](const float* dropped) { low = rowsOf<P>(Left{dropped, p.in, 1}, x.rows, p.in, p.slot + 1); });
    down<P>(low, x.rows, TransposedRight(dense(p.a, p.rank, p.in)), p.rank, p.scale, u);
    terms[1] = {rowsOf<P>(Left{static_cast<const float*>(u), p.rank, 1}, x.rows, p.rank, p.slot + 2), &pair};
  }
  gemm<P>(x.rows, p.out, terms, p.rank ? 2 : 1, y);
}

// The backward pass of one projection: its terms of dx = dy W + v A (under the mask, where there is one), and what is asked for of
// dW = dy^T x, dA = v^T x and dB = dy^T u, with v = scale dy B, and the bias's, the sum of dy.
template <class P>
class Pulled {
 public:
  // dy [rows, out] at a distance of dyRow values; x and u as in the forward pass.
  template <class Dy, class X>
  Pulled(const Projection& p, const Dy* dy, long dyRow, long rows, const X* x, const float* u, const ProjectionGradients& gradients)
      : p_(p), rows_(rows), right_(p.weight), pair_(dense(p.a, p.rank, p.in)) {
    if (gradients.w) {
      const StridedRight values(x, rows, p.in, 1);
      const Term<P> across{rowsOf<P>(Left{dy, 1, dyRow}, p.out, rows, 7), &values};
      gemm<P>(p.out, p.in, &across, 1, {gradients.w, p.in, 1});
    }
    if (gradients.w && p.weight.scaled()) throw std::invalid_argument("linear: a matrix whose products are scaled cannot be trained itself");
    if (gradients.bias) {
      sumOverRows(rows, p.out, [&](long i, long j) { return valueOf(dy[i * dyRow + j]); }, gradients.bias);
      if (p.outScale) timesRows(gradients.bias, p.out, 1, p.outScale);
    }
    left_ = rowsOf<P>(Left{dy, dyRow, 1}, rows, p.out, p.slot + 3);
    if (!p.rank) return;
    float* v = scratch(p.slot + 4, rows * p.rank);
    down<P>(left_, rows, PlainRight(p.pair()), p.rank, p.scale, v);
    back_ = rowsOf<P>(Left{static_cast<const float*>(v), p.rank, 1}, rows, p.rank, p.slot + 5);
    if (gradients.a)
      p.withDropped(x, rows, [&](const auto* low) { crossProduct<P>(rows, low, p.in, p.in, v, p.rank, {gradients.a, 1, p.in}); });
    if (!gradients.b) return;
    crossProduct<P>(rows, dy, dyRow, p.out, u, p.rank, {gradients.b, p.rank, 1});
    if (p.outScale) timesRows(gradients.b, p.out, p.rank, p.outScale);
  }
  Pulled(const Pulled&) = delete;  // its terms point into it

  static void timesRows(float* values, long rows, long columns, const float* by) {
    for (long i = 0; i < rows * columns; i++) values[i] *= by[i / columns];
  }

  // Appends its terms; a pair with dropout cannot share the sums and comes after them.
  void addTerms(Term<P>* terms, int& count) const {
    terms[count++] = {left_, &right_};
    if (p_.rank && p_.rate == 0) terms[count++] = {back_, &pair_};
  }
  void addDropped(float* dx) const {
    if (!p_.rank || p_.rate == 0) return;
    float* part = scratch(3, rows_ * p_.in);
    const Term<P> term{back_, &pair_};
    gemm<P>(rows_, p_.in, &term, 1, {part, p_.in, 1});
    forRows(rows_, p_.in, [&](long i) {
      for (long k = i * p_.in; k < (i + 1) * p_.in; k++) dx[k] += part[k] * p_.mask(k);
    });
  }

 private:
  const Projection& p_;
  const long rows_;
  const PlainRight right_, pair_;
  Rows<P> left_{}, back_{};
};

// The gradient of what scales a projection's results, which had made them y(i, j), of the gradient dy(i, j).
template <class Y, class Dy>
void outScaleBack(const Projection& p, long rows, const Y& y, const Dy& dy, float* dl) {
  if (!dl || !p.outScale) return;
  sumOverRows(rows, p.out, [&](long i, long j) { return valueOf(y(i, j)) * valueOf(dy(i, j)); }, dl);
  for (long j = 0; j < p.out; j++) dl[j] /= p.outScale[j];
}

// The same of what scales its input x [rows, in], of the gradient dx that came back through it alone.
template <class X, class Dx>
void inScaleBack(const Projection& p, long rows, const X* x, const Dx* dx, float* dl) {
  if (!dl || !p.inScale) return;
  sumOverRows(rows, p.in, [&](long i, long j) { return valueOf(x[i * p.in + j]) * valueOf(dx[i * p.in + j]); }, dl);
  for (long j = 0; j < p.in; j++) dl[j] /= p.inScale[j];
}

// dx of several projections of one input; as bf16 only without dropout.
template <class P, class T>
void pullBack(const Pulled<P>* const* pulled, int count, long rows, long in, T* dx) {
  Term<P> terms[kMaxTerms];
  int n = 0;
  for (int i = 0; i < count; i++) pulled[i]->addTerms(terms, n);
  gemm<P>(rows, in, terms, n, Target::kept(dx, in));
  if constexpr (sizeof(T) == 4)
    for (int i = 0; i < count; i++) pulled[i]->addDropped(dx);
}

}  // namespace tunebook
