// y = x W^T + scale (dropout(x) A^T) B^T over a frozen weight of any kind, forward and backward; see linear.ts.
#include "../native/mask.h"
#include "../native/op.h"
#include "../native/gemm.h"

namespace tunebook {
namespace {

struct Shapes {
  long rows, in, out, rank;
  Weight weight;
};

Shapes shapes(const Input<float>& x, const Input<uint8_t>& w, const Input<float>& a, long out, Kind kind) {
  const long in = x.dim(-1);
  const Weight weight{w.data, kind, out, in};
  if (static_cast<size_t>(w.size) != Weight::rowBytes(kind, in) * out)
    throw std::invalid_argument("linear: a weight of " + std::to_string(w.size) + " bytes is not [" + std::to_string(out) +
                                ", " + std::to_string(in) + "]");
  return {x.rows(), in, out, a.dim(0), weight};
}

// One to three rows (decoding): a pass over the packed weight, no panels.
void fewRows(const Shapes& s, const float* x, const float* u, const float* b, float* y) {
  const long blocks = (s.in + 31) / 32;
  float* sums = scratch(1, blocks * s.rows);
  for (long i = 0; i < s.rows; i++)
    for (long k = 0; k < blocks; k++) {
      float total = 0;
      for (long j = k * 32; j < std::min(s.in, (k + 1) * 32); j++) total += x[i * s.in + j];
      sums[i * blocks + k] = total;
    }
  // Waking the other threads costs as much as a million multiplications.
  const long block = std::max<long>(32, 1'000'000 / (s.in * s.rows));
  parallelFor(static_cast<int>((s.out + block - 1) / block), [&](int task, int) {
    for (long n = task * block; n < std::min(s.out, (task + 1) * block); n++)
      for (long i = 0; i < s.rows; i++) {
        float value = dotRow(s.weight, n, x + i * s.in, sums + i * blocks);
        if (s.rank) value += dot(u + i * s.rank, b + n * s.rank, s.rank);
        y[i * s.out + n] = value;
      }
  });
}

// target[rows, rank] = scale * x m, with m [in, rank]
template <class P>
void down(const Rows<P>& x, long rows, const Right& right, long rank, float scale, float* target) {
  // Few columns: the rows are what the threads share.
  typename P::T* panels = elements<P>(2, panelSize<P>(x.inner, rank));
  packAll<P>(right, rank, panels);
  constexpr long block = 48;
  parallelFor(static_cast<int>((rows + block - 1) / block), [&](int task, int) {
    const long first = task * block, count = std::min(block, rows - first);
    multiplyPacked<P>(x.from(first), panels, count, rank, {target + first * rank, rank, 1, scale});
  });
}

constexpr int64_t kElements = 16384;  // of an elementwise pass, per task

// The low-rank term's input: x itself, or x under its dropout mask in scratch memory.
const float* dropped(const Input<float>& x, double rate, const Mask& mask) {
  if (rate == 0) return x.data;
  float* y = scratch(5, x.size);
  parallelFor(static_cast<int>((x.size + kElements - 1) / kElements), [&](int task, int) {
    for (int64_t i = task * kElements; i < std::min(x.size, (task + 1) * kElements); i++) y[i] = x.data[i] * mask(i);
  });
  return y;
}

// Scratch slots of the calling thread: 0 panels, 1 block sums, 2 small panels, 4 v, 5 x under dropout, 6 dx of the low-rank
// term; 7 to 9 left sides.
template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0);
  const auto w = call.input<uint8_t>(1);
  const auto a = call.input<float>(2), b = call.input<float>(3);
  const float scale = call.attribute(2);
  const double rate = call.attribute(3);
  const Mask mask(rate, call.input<int32_t>(4).data[0]);
  const Shapes s = shapes(x, w, a, call.attribute(1), static_cast<Kind>(static_cast<int64_t>(call.attribute(0))));
  Shape shape = x.shape;
  shape.back() = s.out;
  float* y = call.output(0, shape);
  float* u = call.output(1, {s.rows, s.rank});
  const Left whole{x.data, s.in, 1};
  const TransposedRight downward(dense(a.data, s.rank, s.in));
  if (s.rows <= 3) {
    if (s.rank) down<F32>(rowsOf<F32>({dropped(x, rate, mask), s.in, 1}, s.rows, s.in, 7), s.rows, downward, s.rank, scale, u);
    return fewRows(s, x.data, u, b.data, y);
  }
  const Rows<P> left = rowsOf<P>(whole, s.rows, s.in, 7);
  const TransposedRight right(s.weight), pair(dense(b.data, s.out, s.rank));
  if (!s.rank) return gemm<P>(s.rows, s.out, left, right, {y, s.out, 1});
  const Rows<P> low = rate ? rowsOf<P>({dropped(x, rate, mask), s.in, 1}, s.rows, s.in, 8) : left;
  down<P>(low, s.rows, downward, s.rank, scale, u);
  const Rows<P> beside = rowsOf<P>({u, s.rank, 1}, s.rows, s.rank, 9);
  gemm<P>(s.rows, s.out, left, right, &beside, &pair, {y, s.out, 1});
}

// dx = dy W + v A (under the mask, where there is one), dA = v^T x, dB = dy^T u, with u = scale x A^T of the forward pass and
// v = scale dy B
template <class P>
void backward(Call& call) {
  const auto x = call.input<float>(0);
  const auto w = call.input<uint8_t>(1);
  const auto a = call.input<float>(2), b = call.input<float>(3), u = call.input<float>(4), dy = call.input<float>(5);
  const float scale = call.attribute(2);
  const double rate = call.attribute(3);
  const Mask mask(rate, call.input<int32_t>(6).data[0]);
  const Shapes s = shapes(x, w, a, call.attribute(1), static_cast<Kind>(static_cast<int64_t>(call.attribute(0))));
  float* dx = call.output(0, x.shape);
  float* da = call.output(1, a.shape);
  float* db = call.output(2, b.shape);
  const Rows<P> left = rowsOf<P>({dy.data, s.out, 1}, s.rows, s.out, 7);
  const PlainRight right(s.weight);
  if (!s.rank) return gemm<P>(s.rows, s.in, left, right, {dx, s.in, 1});
  float* v = scratch(4, s.rows * s.rank);
  const float* low = dropped(x, rate, mask);
  down<P>(left, s.rows, PlainRight(dense(b.data, s.out, s.rank)), s.rank, scale, v);
  const Rows<P> back = rowsOf<P>({v, s.rank, 1}, s.rows, s.rank, 9);
  const PlainRight pair(dense(a.data, s.rank, s.in));
  if (rate == 0) {
    gemm<P>(s.rows, s.in, left, right, &back, &pair, {dx, s.in, 1});
  } else {
    gemm<P>(s.rows, s.in, left, right, {dx, s.in, 1});
    float* part = scratch(6, x.size);
    gemm<P>(s.rows, s.in, back, pair, {part, s.in, 1});
    parallelFor(static_cast<int>((x.size + kElements - 1) / kElements), [&](int task, int) {
      for (int64_t i = task * kElements; i < std::min(x.size, (task + 1) * kElements); i++) dx[i] += part[i] * mask(i);
    });
  }
  crossProduct(s.rows, low, s.in, v, s.rank, {da, 1, s.in});
  crossProduct(s.rows, dy.data, s.out, u.data, s.rank, {db, s.rank, 1});
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(4), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(4), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookLinear", {"x: float", "w: uint8", "a: float", "b: float", "seed: int32"}, {"y: float", "u: float"},
                {"kind: int", "out: int", "scale: float", "dropout: float", "bf16: int"}};
const Spec gradSpec{"TunebookLinearGrad", {"x: float", "w: uint8", "a: float", "b: float", "u: float", "dy: float", "seed: int32"},
                    {"dx: float", "da: float", "db: float"}, {"kind: int", "out: int", "scale: float", "dropout: float", "bf16: int"}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
