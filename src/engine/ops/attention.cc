// Causal attention with grouped heads, forward and backward, a block of queries at a time: scratch memory grows with the
// length of the row, never with its square. See attention.ts.
#include "../native/op.h"
#include "../native/gemm.h"

#include <algorithm>

namespace tunebook {
namespace {

constexpr int kQueries = kRows * 8;  // queries per block

struct Dims {
  long batch, queries, keys, heads, groups, dim, offset;  // offset: position of the first query among the keys
  float scale;
  long group() const { return heads / groups; }
};

Dims dimensions(const Input<float>& q, const Input<float>& k, float scale) {
  Dims d{q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), k.dim(1) - q.dim(1), scale};
  if (d.heads % d.groups || d.offset < 0) throw std::invalid_argument("attention: heads or lengths do not fit");
  return d;
}

// Turns one row of scores into probabilities over its first `visible` keys and returns the log of their sum.
float softmaxRow(float* s, long visible, long width, float scale) {
  float top = -INFINITY;
  for (long j = 0; j < visible; j++) top = std::max(top, s[j]);
  const float shift = top * scale;
  Vec total{};
  long j = 0;
  for (; j + kLanes <= visible; j += kLanes) {
    const Vec p = exp(load(s + j) * scale - shift);
    total += p;
    store(s + j, p);
  }
  float rest = sum(total);
  for (; j < visible; j++) rest += s[j] = std::exp(s[j] * scale - shift);
  const float inverse = 1 / rest;
  for (j = 0; j < visible; j++) s[j] *= inverse;
  for (; j < width; j++) s[j] = 0;
  return shift + std::log(rest);
}

template <class P>
void forwardHead(const Dims& d, const float* q, const float* k, const float* v, float* o, float* lse, long qRow, long kRow) {
  typename P::T* keys = elements<P>(0, panelSize<P>(d.dim, d.keys));
  typename P::T* values = elements<P>(1, panelSize<P>(d.keys, d.dim));
  packAll<P>(StridedRight(k, d.dim, 1, kRow), d.keys, keys);
  packAll<P>(StridedRight(v, d.keys, kRow, 1), d.dim, values);
  float* scores = scratch(2, kQueries * d.keys);
  for (long i = 0; i < d.queries; i += kQueries) {
    const long rows = std::min<long>(kQueries, d.queries - i), width = d.offset + i + rows;
    multiplyPacked<P>(rowsOf<P>({q + i * qRow, qRow, 1}, rows, d.dim, 7, false), keys, rows, width, {scores, width, 1});
    for (long r = 0; r < rows; r++) {
      const float total = softmaxRow(scores + r * width, d.offset + i + r + 1, width, d.scale);
      if (lse) lse[i + r] = total;
    }
    const Rows<P> p = rowsOf<P>({scores, width, 1}, rows, width, 8, false);
    multiplyPacked<P>(p, values, stepsOf<P>(d.keys), rows, d.dim, {o + i * qRow, qRow, 1});
  }
}

template <class P>
void forward(Call& call) {
  const auto q = call.input<float>(0), k = call.input<float>(1), v = call.input<float>(2);
  const Dims d = dimensions(q, k, call.attribute(0));
  float* o = call.output(0, q.shape);
  float* lse = call.output(1, {d.batch, d.heads, d.queries});
  const long qRow = d.heads * d.dim, kRow = d.groups * d.dim;
  parallelFor(static_cast<int>(d.batch * d.heads), [&](int task, int) {
    const long b = task / d.heads, h = task % d.heads, g = h / d.group();
    const long at = b * d.queries * qRow + h * d.dim, kv = b * d.keys * kRow + g * d.dim;
    forwardHead<P>(d, q.data + at, k.data + kv, v.data + kv, o + at, lse + task * d.queries, qRow, kRow);
  });
}

// With P = exp(scale Q K^T - lse), dP = dO V^T and delta = rowsum(dO O): dS = scale P (dP - delta),
// dQ = dS K, dK = dS^T Q, dV = P^T dO. dk and dv are this head's share, [keys, dim].
template <class P>
void backwardHead(const Dims& d, const float* q, const float* k, const float* v, const float* o, const float* lse,
                  const float* dO, float* dq, float* dk, float* dv, long qRow, long kRow) {
  using T = typename P::T;
  T* keys = elements<P>(0, panelSize<P>(d.dim, d.keys));
  T* values = elements<P>(1, panelSize<P>(d.dim, d.keys));
  T* keysByRow = elements<P>(2, panelSize<P>(d.keys, d.dim));
  packAll<P>(StridedRight(k, d.dim, 1, kRow), d.keys, keys);
  packAll<P>(StridedRight(v, d.dim, 1, kRow), d.keys, values);
  packAll<P>(StridedRight(k, d.keys, kRow, 1), d.dim, keysByRow);
  float* p = scratch(3, kQueries * d.keys);
  float* ds = scratch(4, kQueries * d.keys);
  T* panels = elements<P>(5, panelSize<P>(kQueries, d.dim));
  std::memset(dk, 0, d.keys * d.dim * 4);
  std::memset(dv, 0, d.keys * d.dim * 4);
  for (long i = 0; i < d.queries; i += kQueries) {
    const long rows = std::min<long>(kQueries, d.queries - i), width = d.offset + i + rows;
    multiplyPacked<P>(rowsOf<P>({q + i * qRow, qRow, 1}, rows, d.dim, 7, false), keys, rows, width, {p, width, 1});
    multiplyPacked<P>(rowsOf<P>({dO + i * qRow, qRow, 1}, rows, d.dim, 7, false), values, rows, width, {ds, width, 1});
    for (long r = 0; r < rows; r++) {
      const float delta = dot(dO + (i + r) * qRow, o + (i + r) * qRow, d.dim), shift = lse[i + r];
      const long visible = d.offset + i + r + 1;
      float* pr = p + r * width;
      float* dr = ds + r * width;
      long j = 0;
      for (; j + kLanes <= visible; j += kLanes) {
        const Vec e = exp(load(pr + j) * d.scale - shift);
        store(pr + j, e);
        store(dr + j, e * (load(dr + j) - delta) * d.scale);
      }
      for (; j < visible; j++) {
        pr[j] = std::exp(pr[j] * d.scale - shift);
        dr[j] = pr[j] * (dr[j] - delta) * d.scale;
      }
      for (; j < width; j++) pr[j] = dr[j] = 0;
    }
    const Rows<P> byQuery = rowsOf<P>({ds, width, 1}, rows, width, 8, false);
    multiplyPacked<P>(byQuery, keysByRow, stepsOf<P>(d.keys), rows, d.dim, {dq + i * qRow, qRow, 1});
    const int inner = rows;
    packAll<P>(StridedRight(dO + i * qRow, inner, qRow, 1), d.dim, panels);
    multiplyPacked<P>(rowsOf<P>({p, 1, width}, width, inner, 8, false), panels, width, d.dim, {dv, d.dim, 1, 1, true});
    packAll<P>(StridedRight(q + i * qRow, inner, qRow, 1), d.dim, panels);
    multiplyPacked<P>(rowsOf<P>({ds, 1, width}, width, inner, 8, false), panels, width, d.dim, {dk, d.dim, 1, 1, true});
  }
}

template <class P>
void backward(Call& call) {
  const auto q = call.input<float>(0), k = call.input<float>(1), v = call.input<float>(2), o = call.input<float>(3),
             lse = call.input<float>(4), dO = call.input<float>(5);
  const Dims d = dimensions(q, k, call.attribute(0));
  float* dq = call.output(0, q.shape);
  float* dk = call.output(1, k.shape);
  float* dv = call.output(2, v.shape);
  const long qRow = d.heads * d.dim, kRow = d.groups * d.dim, share = d.keys * d.dim;
  // Heads of a group share their keys: each head writes its part here, and the parts are added in the heads' order.
  float* parts = scratch(6, 2 * d.batch * d.heads * share);
  parallelFor(static_cast<int>(d.batch * d.heads), [&](int task, int) {
    const long b = task / d.heads, h = task % d.heads, g = h / d.group();
    const long at = b * d.queries * qRow + h * d.dim, kv = b * d.keys * kRow + g * d.dim;
    float* part = parts + 2 * task * share;
    backwardHead<P>(d, q.data + at, k.data + kv, v.data + kv, o.data + at, lse.data + task * d.queries, dO.data + at, dq + at,
                 part, part + share, qRow, kRow);
  });
  parallelFor(static_cast<int>(d.batch * d.groups), [&](int task, int) {
    const long b = task / d.groups, g = task % d.groups;
    for (long t = 0; t < d.keys; t++) {
      const long at = (b * d.keys + t) * kRow + g * d.dim;
      std::memset(dk + at, 0, d.dim * 4);
      std::memset(dv + at, 0, d.dim * 4);
      for (long h = g * d.group(); h < (g + 1) * d.group(); h++) {
        const float* part = parts + 2 * (b * d.heads + h) * share + t * d.dim;
        axpy(1, part, dk + at, d.dim);
        axpy(1, part + share, dv + at, d.dim);
      }
    }
  });
}

// Decoding: one row of queries against the cache, a group of heads per task.
void decodeGroup(const Dims& d, const float* q, const float* k, const float* v, float* o, long kRow) {
  const long group = d.group();
  float* scores = scratch(2, group * d.keys);
  for (long t = 0; t < d.keys; t++)
    for (long h = 0; h < group; h++) scores[h * d.keys + t] = dot(q + h * d.dim, k + t * kRow, d.dim);
  std::memset(o, 0, group * d.dim * 4);
  for (long h = 0; h < group; h++) {
    softmaxRow(scores + h * d.keys, d.keys, d.keys, d.scale);
    for (long t = 0; t < d.keys; t++) axpy(scores[h * d.keys + t], v + t * kRow, o + h * d.dim, d.dim);
  }
}

// Writes k and v at `position` of the caches (which belong to the caller and are changed in place), then attends to all
// positions up to there.
void cached(Call& call) {
  const auto q = call.input<float>(0), k = call.input<float>(1), v = call.input<float>(2), cacheK = call.input<float>(3),
             cacheV = call.input<float>(4);
  const long position = call.input<int32_t>(5).data[0];
  Dims d{1, q.dim(1), position + q.dim(1), q.dim(2), k.dim(2), q.dim(3), position, static_cast<float>(call.attribute(0))};
  const long qRow = d.heads * d.dim, kRow = d.groups * d.dim;
  if (d.keys * kRow > cacheK.size)
    throw std::invalid_argument("attention: position " + std::to_string(d.keys) + " is past the end of the key/value cache");
  float* allK = const_cast<float*>(cacheK.data);
  float* allV = const_cast<float*>(cacheV.data);
  std::memcpy(allK + position * kRow, k.data, k.size * 4);
  std::memcpy(allV + position * kRow, v.data, v.size * 4);
  float* o = call.output(0, q.shape);
  if (d.queries == 1) {
    const auto group = [&](int g, int) {
      const long at = g * d.group() * d.dim;
      decodeGroup(d, q.data + at, allK + g * d.dim, allV + g * d.dim, o + at, kRow);
    };
    // Waking the other threads costs as much as a million multiplications.
    if (d.keys * qRow > 1'000'000) return parallelFor(static_cast<int>(d.groups), group);
    for (int g = 0; g < d.groups; g++) group(g, 0);
    return;
  }
  parallelFor(static_cast<int>(d.heads), [&](int h, int) {
    const long g = h / d.group();
    forwardHead<F32>(d, q.data + h * d.dim, allK + g * d.dim, allV + g * d.dim, o + h * d.dim, nullptr, qRow, kRow);
  });
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(1), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(1), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookAttention", {"q: float", "k: float", "v: float"}, {"o: float", "lse: float"},
                {"scale: float", "bf16: int"}};
const Spec gradSpec{"TunebookAttentionGrad", {"q: float", "k: float", "v: float", "o: float", "lse: float", "grad: float"},
                    {"dq: float", "dk: float", "dv: float"}, {"scale: float", "bf16: int"}};
const Spec cachedSpec{"TunebookCachedAttention",
                      {"q: float", "k: float", "v: float", "cache_k: float", "cache_v: float", "position: int32"},
                      {"o: float"}, {"scale: float"}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;
const Op<cachedSpec, cached> cachedOp;

}  // namespace
}  // namespace tunebook
