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
  const long row = d.groups * d.dim;
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

// Runs body(head of the batch, group of the batch, offset in q, part) for every part of every head.
template <class Body>
void forParts(const Dims& d, long parts, const Body& body) {
  parallelFor(static_cast<int>(d.batch * d.heads * parts), [&](int task, int) {
    const long head = task / parts, b = head / d.heads, h = head % d.heads;
    body(head, b * d.groups + h / d.group(), (b * d.queries * d.heads + h) * d.dim, task % parts);
  });
}

// lse may be null.
template <class P>
void forwardAll(const Dims& d, const float* q, const float* k, const float* v, float* o, float* lse) {
  const Panels<P> keys = panelsOf<P>(d, k, Side::kAcross, 0), values = panelsOf<P>(d, v, Side::kAlong, 1);
  const long parts = partsOf(d), qRow = d.heads * d.dim, stride = strideFor(d.keys);
  forParts(d, parts, [&](long head, long group, long at, long part) {
    float* scores = scratch(2, kQueries * stride);
    for (long i = part * kQueries; i < d.queries; i += parts * kQueries) {
      const long rows = std::min<long>(kQueries, d.queries - i), width = d.offset + i + rows;
      multiplyPacked<P>(rowsOf<P>({q + at + i * qRow, qRow, 1}, rows, d.dim, 7, false), keys.of(group), rows, width, {scores, stride, 1});
      for (long r = 0; r < rows; r++) {
        const float total = softmaxRow(scores + r * stride, d.offset + i + r + 1, width, d.scale);
        if (lse) lse[head * d.queries + i + r] = total;
      }
      const Rows<P> p = rowsAt<P>({scores, stride, 1}, rows, width, 8);
      multiplyPacked<P>(p, values.of(group), stepsOf<P>(d.keys), rows, d.dim, {o + at + i * qRow, qRow, 1});
    }
  });
}

template <class P>
void forward(Call& call) {
  const auto q = call.input<float>(0), k = call.input<float>(1), v = call.input<float>(2);
  const Dims d = dimensions(q, k, call.attribute(0));
  float* o = call.output(0, q.shape);
  float* lse = call.output(1, {d.batch, d.heads, d.queries});
  forwardAll<P>(d, q.data, k.data, v.data, o, lse);
}

// One block of queries of one head; all pointers are at its first query.
struct Block {
  const float *q, *o, *lse, *dO;
  float* dq;
  long rows, visible;  // visible: keys that the first query sees
};

// From scores and dP to P = exp(scale Q K^T - lse) and dS = scale P (dP - delta), zeros where a key is not seen.
void softmaxBack(const Dims& d, const Block& block, long qRow, long stride, long width, float* p, float* ds) {
  for (long r = 0; r < block.rows; r++) {
    const float delta = dot(block.dO + r * qRow, block.o + r * qRow, d.dim), shift = block.lse[r];
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
  const long qRow = d.heads * d.dim, stride = strideFor(d.keys), rows = block.rows, width = block.visible - 1 + rows;
  const int inner = rows;
  float* p = scratch(3, kQueries * stride);
  float* ds = scratch(4, kQueries * stride);
  typename P::T* panels = elements<P>(5, panelSize<P>(kQueries, d.dim));
  multiplyPacked<P>(rowsOf<P>({block.q, qRow, 1}, rows, d.dim, 7, false), keys, rows, width, {p, stride, 1});
  multiplyPacked<P>(rowsOf<P>({block.dO, qRow, 1}, rows, d.dim, 7, false), values, rows, width, {ds, stride, 1});
  softmaxBack(d, block, qRow, stride, width, p, ds);
  multiplyPacked<P>(rowsAt<P>({ds, stride, 1}, rows, width, 8), keysAlong, stepsOf<P>(d.keys), rows, d.dim, {block.dq, qRow, 1});
  packAll<P>(StridedRight(block.dO, inner, qRow, 1), d.dim, panels);
  multiplyPacked<P>(rowsAt<P>({p, 1, stride}, width, inner, 8), panels, width, d.dim, {dv, d.dim, 1, 1, true});
  packAll<P>(StridedRight(block.q, inner, qRow, 1), d.dim, panels);
  multiplyPacked<P>(rowsAt<P>({ds, 1, stride}, width, inner, 8), panels, width, d.dim, {dk, d.dim, 1, 1, true});
}

template <class P>
void backward(Call& call) {
  const auto q = call.input<float>(0), k = call.input<float>(1), v = call.input<float>(2), o = call.input<float>(3),
             lse = call.input<float>(4), dO = call.input<float>(5);
  const Dims d = dimensions(q, k, call.attribute(0));
  float* dq = call.output(0, q.shape);
  float* dk = call.output(1, k.shape);
  float* dv = call.output(2, v.shape);
  const long qRow = d.heads * d.dim, kRow = d.groups * d.dim, share = d.keys * d.dim, parts = partsOf(d);
  const Panels<P> keys = panelsOf<P>(d, k.data, Side::kAcross, 0), values = panelsOf<P>(d, v.data, Side::kAcross, 1),
                  keysAlong = panelsOf<P>(d, k.data, Side::kAlong, 2);
  // Heads of a group share their keys: each part of a head writes its share here, and the shares are added in one order.
  float* shares = scratch(6, 2 * d.batch * d.heads * parts * share);
  forParts(d, parts, [&](long head, long group, long at, long part) {
    float* mine = shares + 2 * (head * parts + part) * share;
    std::memset(mine, 0, 2 * share * 4);
    for (long i = part * kQueries; i < d.queries; i += parts * kQueries) {
      const long row = at + i * qRow;
      const Block block{q.data + row, o.data + row, lse.data + head * d.queries + i, dO.data + row, dq + row,
                        std::min<long>(kQueries, d.queries - i), d.offset + i + 1};
      backwardBlock<P>(d, block, keys.of(group), values.of(group), keysAlong.of(group), mine, mine + share);
    }
  });
  constexpr long chunk = 64;  // keys per task
  const long chunks = (d.keys + chunk - 1) / chunk, perGroup = d.group() * parts;
  parallelFor(static_cast<int>(d.batch * d.groups * chunks), [&](int task, int) {
    const long group = task / chunks, b = group / d.groups, g = group % d.groups;
    for (long t = task % chunks * chunk; t < std::min(d.keys, (task % chunks + 1) * chunk); t++) {
      const long at = (b * d.keys + t) * kRow + g * d.dim;
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
  forwardAll<F32>(d, q.data, allK, allV, o, nullptr);
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
