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

// target[rows, rank] = scale * x m^T (m is [rank, in]) or scale * x m (m is [in, rank])
void down(const float* x, long rows, long in, const Right& right, long rank, float scale, float* target) {
  // Few columns: the rows are what the threads share.
  float* panels = scratch(2, panelFloats(in, rank));
  packAll(right, rank, panels);
  constexpr long block = 48;
  parallelFor(static_cast<int>((rows + block - 1) / block), [&](int task, int) {
    const long first = task * block, count = std::min(block, rows - first);
    multiplyPacked({x + first * in, in, 1}, in, panels, count, rank, {target + first * rank, rank, 1, scale});
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
  float* u = scratch(3, s.rows * s.rank);
  if (s.rank) down(dropped(x, rate, mask), s.rows, s.in, TransposedRight(dense(a.data, s.rank, s.in)), s.rank, scale, u);
  if (s.rows <= 3) return fewRows(s, x.data, u, b.data, y);
  const TransposedRight right(s.weight), pair(dense(b.data, s.out, s.rank));
  const Left left{x.data, s.in, 1}, low{u, s.rank, 1};
  gemm(s.rows, s.out, left, right, s.rank ? &low : nullptr, s.rank ? &pair : nullptr, {y, s.out, 1});
}

// dx = dy W + v A (under the mask, where there is one), dA = v^T x, dB = dy^T u, with u = scale x A^T and v = scale dy B
void backward(Call& call) {
  const auto x = call.input<float>(0);
  const auto w = call.input<uint8_t>(1);
  const auto a = call.input<float>(2), b = call.input<float>(3), dy = call.input<float>(4);
  const float scale = call.attribute(2);
  const double rate = call.attribute(3);
  const Mask mask(rate, call.input<int32_t>(5).data[0]);
  const Shapes s = shapes(x, w, a, call.attribute(1), static_cast<Kind>(static_cast<int64_t>(call.attribute(0))));
  float* dx = call.output(0, x.shape);
  float* da = call.output(1, a.shape);
  float* db = call.output(2, b.shape);
  const Left left{dy.data, s.out, 1};
  const PlainRight right(s.weight);
  if (!s.rank) return gemm(s.rows, s.in, left, right, {dx, s.in, 1});
  float* u = scratch(3, s.rows * s.rank);
  float* v = scratch(4, s.rows * s.rank);
  const float* low = dropped(x, rate, mask);
  down(low, s.rows, s.in, TransposedRight(dense(a.data, s.rank, s.in)), s.rank, scale, u);
  down(dy.data, s.rows, s.out, PlainRight(dense(b.data, s.out, s.rank)), s.rank, scale, v);
  const Left back{v, s.rank, 1};
  const PlainRight pair(dense(a.data, s.rank, s.in));
  if (rate == 0) {
    gemm(s.rows, s.in, left, right, &back, &pair, {dx, s.in, 1});
  } else {
    gemm(s.rows, s.in, left, right, {dx, s.in, 1});
    float* part = scratch(6, x.size);
    gemm(s.rows, s.in, back, pair, {part, s.in, 1});
    parallelFor(static_cast<int>((x.size + kElements - 1) / kElements), [&](int task, int) {
      for (int64_t i = task * kElements; i < std::min(x.size, (task + 1) * kElements); i++) dx[i] += part[i] * mask(i);
    });
  }
  // Both are [rank, wide] products over the rows, so the wide side becomes the panels; dB is written transposed.
  gemm(s.rank, s.in, {v, 1, s.rank}, StridedRight(low, s.rows, s.in, 1), {da, s.in, 1});
  gemm(s.rank, s.out, {u, 1, s.rank}, StridedRight(dy.data, s.rows, s.out, 1), {db, 1, s.rank});
}

const Spec spec{"TunebookLinear", {"x: float", "w: uint8", "a: float", "b: float", "seed: int32"}, {"y: float"},
                {"kind: int", "out: int", "scale: float", "dropout: float"}};
const Spec gradSpec{"TunebookLinearGrad", {"x: float", "w: uint8", "a: float", "b: float", "dy: float", "seed: int32"},
                    {"dx: float", "da: float", "db: float"}, {"kind: int", "out: int", "scale: float", "dropout: float"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
