// Causal attention with grouped heads, forward and backward, a block of queries at a time: scratch memory grows with the
// length of the row, never with its square. See attention.ts.
#include "../native/op.h"
#include "../native/gemm.h"

#include <algorithm>

namespace tunebook {
namespace {

constexpr int kQueries = kRows * 8;  // queries per block

struct Dims {
  long batch, queries, keys, heads, groups, dim;
  long offset;            // position of the first query among the keys
  long qRow, kRow, oRow;  // floats from one token to the next in q, in k and v, and in the output
  float scale;
  long group() const { return heads / groups; }
};

// Queries, keys and values of every token side by side, [batch, seq, heads + 2 groups, dim].
struct Packed {
  Input<float> qkv;
  Dims d;
  const float *q, *k, *v;
  Packed(Call& call, int heads, int groups, int scale) : qkv(call.input<float>(0)) {
    const long h = call.attribute(heads), g = call.attribute(groups), dim = qkv.dim(3), row = qkv.dim(2) * dim;
    if (g < 1 || h % g || qkv.dim(2) != h + 2 * g) throw std::invalid_argument("attention: heads do not fit");
    d = {qkv.dim(0), qkv.dim(1), qkv.dim(1), h, g, dim, 0, row, row, h * dim, static_cast<float>(call.attribute(scale))};
    q = qkv.data, k = q + h * dim, v = k + g * dim;
  }
};

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

// Into how many parts each head's blocks of queries are dealt, so that all threads have work to the end.
long partsOf(const Dims& d) {
  const long blocks = (d.queries + kQueries - 1) / kQueries, heads = d.batch * d.heads;
  return std::max<long>(1, std::min(blocks, (8L * threadCount() + heads - 1) / heads));
}

// Panels of every group's keys or values, [batch * groups][panels], made once for all heads of the group.
template <class P>
struct Panels {
  typename P::T* data;
  size_t size;
  const typename P::T* of(long group) const { return data + group * size; }
};

enum class Side { kAcross, kAlong };  // X^T, [dim, keys], or X, [keys, dim]

template <class P>
Panels<P> panelsOf(const Dims& d, const float* x, Side side, int slot) {
  const long row = d.kRow;
  const bool across = side == Side::kAcross;
  Panels<P> panels{nullptr, across ? panelSize<P>(d.dim, d.keys) : panelSize<P>(d.keys, d.dim)};
  panels.data = elements<P>(slot, panels.size * d.batch * d.groups);
  parallelFor(static_cast<int>(d.batch * d.groups), [&](int task, int) {
    const float* from = x + task / d.groups * d.keys * row + task % d.groups * d.dim;
    typename P::T* to = panels.data + task * panels.size;
    if (across) packAll<P>(StridedRight(from, d.dim, 1, row), d.keys, to);
    else packAll<P>(StridedRight(from, d.keys, row, 1), d.dim, to);
  });
  return panels;
}

struct Part {
  long head, group;   // of the whole batch
  long q, o;          // where its first query and its first output stand
  long index;
};

// Runs body for every part of every head.
template <class Body>
void forParts(const Dims& d, long parts, const Body& body) {
  parallelFor(static_cast<int>(d.batch * d.heads * parts), [&](int task, int) {
    const long head = task / parts, b = head / d.heads, h = head % d.heads;
    body(Part{head, b * d.groups + h / d.group(), b * d.queries * d.qRow + h * d.dim, b * d.queries * d.oRow + h * d.dim, task % parts});
  });
}

// lse may be null.
template <class P>
void forwardAll(const Dims& d, const float* q, const float* k, const float* v, float* o, float* lse) {
  const Panels<P> keys = panelsOf<P>(d, k, Side::kAcross, 0), values = panelsOf<P>(d, v, Side::kAlong, 1);
  const long parts = partsOf(d), stride = strideFor(d.keys);
  forParts(d, parts, [&](const Part& part) {
    float* scores = scratch(2, kQueries * stride);
    for (long i = part.index * kQueries; i < d.queries; i += parts * kQueries) {
      const long rows = std::min<long>(kQueries, d.queries - i), width = d.offset + i + rows;
      const Rows<P> left = rowsOf<P>({q + part.q + i * d.qRow, d.qRow, 1}, rows, d.dim, 7, false);
      multiplyPacked<P>(left, keys.of(part.group), rows, width, {scores, stride, 1});
      for (long r = 0; r < rows; r++) {
        const float total = softmaxRow(scores + r * stride, d.offset + i + r + 1, width, d.scale);
        if (lse) lse[part.head * d.queries + i + r] = total;
      }
      const Rows<P> p = rowsAt<P>({scores, stride, 1}, rows, width, 8);
      multiplyPacked<P>(p, values.of(part.group), stepsOf<P>(d.keys), rows, d.dim, {o + part.o + i * d.oRow, d.oRow, 1});
    }
  });
}

template <class P>
void forward(Call& call) {
  const Packed in(call, 0, 1, 2);
  const Dims& d = in.d;
  float* o = call.output(0, {d.batch, d.queries, d.heads, d.dim});
  float* lse = call.output(1, {d.batch, d.heads, d.queries});
  forwardAll<P>(d, in.q, in.k, in.v, o, lse);
}

// One block of queries of one head; all pointers are at its first query.
struct Block {
  const float *q, *o, *lse, *dO;
  float* dq;
  long rows, visible;  // visible: keys that the first query sees
};

// From scores and dP to P = exp(scale Q K^T - lse) and dS = scale P (dP - delta), zeros where a key is not seen.
void softmaxBack(const Dims& d, const Block& block, long stride, long width, float* p, float* ds) {
  for (long r = 0; r < block.rows; r++) {
    const float delta = dot(block.dO + r * d.oRow, block.o + r * d.oRow, d.dim), shift = block.lse[r];
    float* pr = p + r * stride;
    float* dr = ds + r * stride;
    long j = 0;
    for (; j + kLanes <= block.visible + r; j += kLanes) {
      const Vec e = exp(load(pr + j) * d.scale - shift);
      store(pr + j, e);
      store(dr + j, e * (load(dr + j) - delta) * d.scale);
    }
    for (; j < block.visible + r; j++) {
      pr[j] = std::exp(pr[j] * d.scale - shift);
      dr[j] = pr[j] * (dr[j] - delta) * d.scale;
    }
    for (; j < width; j++) pr[j] = dr[j] = 0;
  }
}

// With P = exp(scale Q K^T - lse), dP = dO V^T and delta = rowsum(dO O): dS = scale P (dP - delta),
// dQ = dS K, dK += dS^T Q, dV += P^T dO. dk and dv are a part's share, [keys, dim].
template <class P>
void backwardBlock(const Dims& d, const Block& block, const typename P::T* keys, const typename P::T* values,
                   const typename P::T* keysAlong, float* dk, float* dv) {
  const long stride = strideFor(d.keys), rows = block.rows, width = block.visible - 1 + rows;
  const int inner = rows;
  float* p = scratch(3, kQueries * stride);
  float* ds = scratch(4, kQueries * stride);
  typename P::T* panels = elements<P>(5, panelSize<P>(kQueries, d.dim));
  multiplyPacked<P>(rowsOf<P>({block.q, d.qRow, 1}, rows, d.dim, 7, false), keys, rows, width, {p, stride, 1});
  multiplyPacked<P>(rowsOf<P>({block.dO, d.oRow, 1}, rows, d.dim, 7, false), values, rows, width, {ds, stride, 1});
  softmaxBack(d, block, stride, width, p, ds);
  multiplyPacked<P>(rowsAt<P>({ds, stride, 1}, rows, width, 8), keysAlong, stepsOf<P>(d.keys), rows, d.dim, {block.dq, d.qRow, 1});
  packAll<P>(StridedRight(block.dO, inner, d.oRow, 1), d.dim, panels);
  multiplyPacked<P>(rowsAt<P>({p, 1, stride}, width, inner, 8), panels, width, d.dim, {dv, d.dim, 1, 1, true});
  packAll<P>(StridedRight(block.q, inner, d.qRow, 1), d.dim, panels);
  multiplyPacked<P>(rowsAt<P>({ds, 1, stride}, width, inner, 8), panels, width, d.dim, {dk, d.dim, 1, 1, true});
}

template <class P>
void backward(Call& call) {
  const Packed in(call, 0, 1, 2);
  const Dims& d = in.d;
  const auto o = call.input<float>(1), lse = call.input<float>(2), dO = call.input<float>(3);
  float* dq = call.output(0, in.qkv.shape);
  float* dk = dq + d.heads * d.dim;
  float* dv = dk + d.groups * d.dim;
  const long share = d.keys * d.dim, parts = partsOf(d);
  const Panels<P> keys = panelsOf<P>(d, in.k, Side::kAcross, 0), values = panelsOf<P>(d, in.v, Side::kAcross, 1),
                  keysAlong = panelsOf<P>(d, in.k, Side::kAlong, 2);
  // Heads of a group share their keys: each part of a head writes its share here, and the shares are added in one order.
  float* shares = scratch(6, 2 * d.batch * d.heads * parts * share);
  forParts(d, parts, [&](const Part& part) {
    float* mine = shares + 2 * (part.head * parts + part.index) * share;
    std::memset(mine, 0, 2 * share * 4);
    for (long i = part.index * kQueries; i < d.queries; i += parts * kQueries) {
      const long at = part.q + i * d.qRow, out = part.o + i * d.oRow;
      const Block block{in.q + at, o.data + out, lse.data + part.head * d.queries + i, dO.data + out, dq + at,
                        std::min<long>(kQueries, d.queries - i), d.offset + i + 1};
      backwardBlock<P>(d, block, keys.of(part.group), values.of(part.group), keysAlong.of(part.group), mine, mine + share);
    }
  });
  constexpr long chunk = 64;  // keys per task
  const long chunks = (d.keys + chunk - 1) / chunk, perGroup = d.group() * parts;
  parallelFor(static_cast<int>(d.batch * d.groups * chunks), [&](int task, int) {
    const long group = task / chunks, b = group / d.groups, g = group % d.groups;
    for (long t = task % chunks * chunk; t < std::min(d.keys, (task % chunks + 1) * chunk); t++) {
      const long at = (b * d.keys + t) * d.kRow + g * d.dim;
      std::memset(dk + at, 0, d.dim * 4);
      std::memset(dv + at, 0, d.dim * 4);
      for (long i = group * perGroup; i < (group + 1) * perGroup; i++) {
        const float* from = shares + 2 * i * share + t * d.dim;
        axpy(1, from, dk + at, d.dim);
        axpy(1, from + share, dv + at, d.dim);
      }
    }
  });
}

// Decoding: one row of queries against the cache, a group of heads per task.
void decodeGroup(const Dims& d, const float* q, const float* k, const float* v, float* o) {
  const long group = d.group();
  float* scores = scratch(2, group * d.keys);
  for (long t = 0; t < d.keys; t++)
    for (long h = 0; h < group; h++) scores[h * d.keys + t] = dot(q + h * d.dim, k + t * d.kRow, d.dim);
  std::memset(o, 0, group * d.dim * 4);
  for (long h = 0; h < group; h++) {
    softmaxRow(scores + h * d.keys, d.keys, d.keys, d.scale);
    for (long t = 0; t < d.keys; t++) axpy(scores[h * d.keys + t], v + t * d.kRow, o + h * d.dim, d.dim);
  }
}

// Writes keys and values at `position` of the caches (which belong to the caller and are changed in place), then attends to
// all positions up to there.
void cached(Call& call) {
  const Packed in(call, 0, 1, 2);
  const auto cacheK = call.input<float>(1), cacheV = call.input<float>(2);
  const long position = call.input<int32_t>(3).data[0];
  Dims d = in.d;
  const long kRow = d.groups * d.dim;
  d.keys = position + d.queries;
  d.offset = position;
  if (d.batch != 1 || d.keys * kRow > cacheK.size)
    throw std::invalid_argument("attention: position " + std::to_string(d.keys) + " is past the end of the key/value cache");
  float* allK = const_cast<float*>(cacheK.data);
  float* allV = const_cast<float*>(cacheV.data);
  for (long t = 0; t < d.queries; t++) {
    std::memcpy(allK + (position + t) * kRow, in.k + t * d.kRow, kRow * 4);
    std::memcpy(allV + (position + t) * kRow, in.v + t * d.kRow, kRow * 4);
  }
  d.kRow = kRow;
  float* o = call.output(0, {1, d.queries, d.heads, d.dim});
  if (d.queries > 1) return forwardAll<F32>(d, in.q, allK, allV, o, nullptr);
  const auto group = [&](int g, int) {
    const long at = g * d.group() * d.dim;
    decodeGroup(d, in.q + at, allK + g * d.dim, allV + g * d.dim, o + at);
  };
  // Waking the other threads costs as much as a million multiplications.
  if (d.keys * d.oRow > 1'000'000) return parallelFor(static_cast<int>(d.groups), group);
  for (int g = 0; g < d.groups; g++) group(g, 0);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookAttention", {"qkv: float"}, {"o: float", "lse: float"}, {"heads: int", "groups: int", "scale: float", "bf16: int"}};
const Spec gradSpec{"TunebookAttentionGrad", {"qkv: float", "o: float", "lse: float", "grad: float"}, {"dqkv: float"},
                    {"heads: int", "groups: int", "scale: float", "bf16: int"}};
const Spec cachedSpec{"TunebookCachedAttention", {"qkv: float", "cache_k: float", "cache_v: float", "position: int32"}, {"o: float"},
                      {"heads: int", "groups: int", "scale: float"}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;
const Op<cachedSpec, cached> cachedOp;

}  // namespace
}  // namespace tunebook
