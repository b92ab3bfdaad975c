// Causal attention with grouped heads, forward and backward, a block of queries at a time: scratch memory grows with the
// length of the row, never with its square. See ops/attention.ts.
#pragma once
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "gemm.h"

namespace tunebook {

constexpr int kQueries = kRows * 12;  // queries per block

struct Dims {
  long heads, groups, dim;
  long qRow, kRow, oRow;  // floats from one token to the next in q, in k and v, and in the output
  float scale;
  long window;  // keys that a query sees, its own among them
  long group() const { return heads / groups; }
  // The first key that a query sees whose own key is number `visible`, counted from 1.
  long firstKey(long visible) const { return std::max(0L, visible - window); }
};

// Queries that see the keys of the same sequence, up to their own place, and no others. `first` is its first token. More keys
// than queries: those before them are `prefix` tokens from token 0 on, which other sequences go on from too, or a cache's.
struct Sequence {
  long first, queries, keys, prefix = 0;
  long offset() const { return keys - queries; }  // position of the first query among the keys
};

// `tokens` tokens, one after another, cut into sequences of these lengths. All others go on from the first if `prefixed`.
inline std::vector<Sequence> sequencesOf(const int32_t* lengths, long count, bool prefixed, long tokens) {
  std::vector<Sequence> all;
  long first = 0;
  for (long i = 0; i < count; i++) {
    const long length = lengths[i];
    if (length < 1) throw std::invalid_argument("attention: a sequence of " + std::to_string(length) + " tokens");
    const long prefix = prefixed && i ? lengths[0] : 0;
    all.push_back({first, length, prefix + length, prefix});
    first += length;
  }
  if (first != tokens)
    throw std::invalid_argument("attention: sequences of " + std::to_string(first) + " tokens in all do not fit " + std::to_string(tokens));
  return all;
}

// Queries, keys and values of every token side by side, [tokens, heads + 2 groups, dim].
struct Packed {
  const float *q, *k, *v;
  Packed(const Dims& d, const float* qkv) : q(qkv), k(q + d.heads * d.dim), v(k + d.groups * d.dim) {}
};

// Turns one row of scores into probabilities over its first `visible` keys and returns the log of their sum.
inline float softmaxRow(float* s, long visible, long width, float scale) {
  float top = s[0];
  if (visible >= kLanes) {
    Vec tops = load(s);
    for (long j = kLanes; j + kLanes <= visible; j += kLanes) {
      const Vec next = load(s + j);
      tops = next > tops ? next : tops;
    }
    for (int i = 0; i < kLanes; i++) top = std::max(top, tops[i]);
  }
  for (long j = visible / kLanes * kLanes; j < visible; j++) top = std::max(top, s[j]);
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

// The same over keys [first, visible), with zeros from `base` on before them.
inline float softmaxWindow(float* s, long base, long first, long visible, long width, float scale) {
  for (long j = base; j < first; j++) s[j] = 0;
  return softmaxRow(s + first, visible - first, width - first, scale);
}

enum class Side { kAcross, kAlong };  // X^T, [dim, keys], or X, [keys, dim]

// Panels of keys or values of every sequence and group, made once for all heads of the group. x is at the first token of
// those keys.
template <class P>
class Panels {
 public:
  Panels(const Dims& d, const std::vector<Sequence>& all, const float* x, Side side, int slot) {
    const bool across = side == Side::kAcross;
    size_t total = 0;
    for (const Sequence& s : all) {
      sizes_.push_back(across ? panelSize<P>(d.dim, s.keys) : panelSize<P>(s.keys, d.dim));
      starts_.push_back(total);
      total += sizes_.back() * d.groups;
    }
    data_ = elements<P>(slot, total);
    parallelFor(static_cast<int>(all.size() * d.groups), [&](int task, int) {
      const Sequence& s = all[task / d.groups];
      const long g = task % d.groups;
      const float* from = x + s.first * d.kRow + g * d.dim;
      long row = d.kRow;
      if (s.prefix) {
        float* both = scratch(9, s.keys * d.dim);
        for (long t = 0; t < s.keys; t++) {
          const long token = t < s.prefix ? t : s.first + t - s.prefix;
          std::memcpy(both + t * d.dim, x + token * d.kRow + g * d.dim, d.dim * 4);
        }
        from = both, row = d.dim;
      }
      typename P::T* to = data_ + starts_[task / d.groups] + g * sizes_[task / d.groups];
      if (across) packAll<P>(StridedRight(from, d.dim, 1, row), s.keys, to);
      else packAll<P>(StridedRight(from, s.keys, row, 1), d.dim, to);
    });
  }
  const typename P::T* of(long sequence, long group) const { return data_ + starts_[sequence] + group * sizes_[sequence]; }

 private:
  typename P::T* data_;
  std::vector<size_t> sizes_, starts_;
};

// Every `of`-th block of queries of one head of one sequence, from block `index` on.
struct Part {
  long sequence, head, index, of;
  size_t share;  // where its share of the gradients of keys and values stands
};

// Long heads are dealt out in parts, so that all threads have work to the end.
struct Parts {
  std::vector<Part> all;
  std::vector<long> starts;  // of each sequence's parts
  size_t shares = 0;
  Parts(const Dims& d, const std::vector<Sequence>& sequences) {
    const long heads = sequences.size() * d.heads, wanted = (8L * threadCount() + heads - 1) / heads;
    for (long i = 0; i < static_cast<long>(sequences.size()); i++) {
      const long of = std::max<long>(1, std::min((sequences[i].queries + kQueries - 1) / kQueries, wanted));
      starts.push_back(all.size());
      for (long h = 0; h < d.heads; h++)
        for (long index = 0; index < of; index++) {
          all.push_back({i, h, index, of, shares});
          shares += 2 * sequences[i].keys * d.dim;
        }
    }
  }
  template <class Body>
  void run(const Body& body) const {
    parallelFor(static_cast<int>(all.size()), [&](int task, int) { body(all[task]); });
  }
};

// A block of queries whose first sees keys up to number `visible`: of scores [rows, width] and their gradients only the triangle
// counts, and with a window only keys from `base` on (`zeros`: from where on they must be numbers, since tiles begin there).
template <class P>
struct Triangle {
  long visible, rows, width, base, zeros;
  Triangle(const Dims& d, long firstVisible, long count)
      : visible(firstVisible), rows(count), width(firstVisible - 1 + count), base(d.firstKey(visible) / kColumns * kColumns), zeros(base / P::kTile * P::kTile) {}
  // scores = left keys, of what is seen
  void scores(const Rows<P>& left, const typename P::T* keys, const Target& to) const {
    const long steps = stepsOf<P>(left.inner);
    const Target from{to.data + base, to.row, to.column};
    multiplyTriangle<P>(left, keys + base * steps, steps, rows, width - base, from,
                        [&](long n) { return std::max<long>(0, base + n - visible + 1); }, [&](long) { return std::pair<long, long>(0, left.inner); });
  }
  // to = scores panels; queries from i on see no key behind the last of their tile
  void times(const Rows<P>& scores, const typename P::T* panels, long steps, long columns, const Target& to) const {
    multiplyTriangle<P>(scores, panels, steps, rows, columns, to, [](long) { return 0; },
                        [&](long i) { return std::pair<long, long>(base, std::min(width, visible - 1 + i + P::kTile)); });
  }
  // to += scores^T panels; keys from i on are seen by no query before this one
  void transposedTimes(const Rows<P>& scores, const typename P::T* panels, long columns, const Target& to) const {
    multiplyTriangle<P>(scores, panels, stepsOf<P>(rows), width, columns, to, [&](long) { return zeros; },
                        [&](long i) { return std::pair<long, long>(std::max<long>(0, i - visible + 1), rows); });
  }
};

// lse [tokens, heads] may be null.
template <class P>
void forwardAll(const Dims& d, const std::vector<Sequence>& sequences, const float* q, const float* k, const float* v, float* o, float* lse) {
  const Panels<P> keys(d, sequences, k, Side::kAcross, 0), values(d, sequences, v, Side::kAlong, 1);
  Parts(d, sequences).run([&](const Part& part) {
    const Sequence& s = sequences[part.sequence];
    const long group = part.head / d.group(), stride = strideFor(s.keys);
    float* scores = scratch(2, kQueries * stride);
    for (long i = part.index * kQueries; i < s.queries; i += part.of * kQueries) {
      const long rows = std::min<long>(kQueries, s.queries - i), width = s.offset() + i + rows, token = s.first + i;
      const Rows<P> left = rowsOf<P>({q + token * d.qRow + part.head * d.dim, d.qRow, 1}, rows, d.dim, 7, false);
      const Triangle<P> triangle(d, s.offset() + i + 1, rows);
      triangle.scores(left, keys.of(part.sequence, group), {scores, stride, 1});
      for (long r = 0; r < rows; r++) {
        const long visible = s.offset() + i + r + 1;
        const float total = softmaxWindow(scores + r * stride, triangle.zeros, d.firstKey(visible), visible, width, d.scale);
        if (lse) lse[(token + r) * d.heads + part.head] = total;
      }
      const Rows<P> p = rowsAt<P>({scores, stride, 1}, rows, width, 8);
      triangle.times(p, values.of(part.sequence, group), stepsOf<P>(s.keys), d.dim, {o + token * d.oRow + part.head * d.dim, d.oRow, 1});
    }
  });
}

// One block of queries of one head; all pointers are at its first query.
struct Block {
  const float *q, *o, *lse, *dO;
  float* dq;
  long rows, visible, keys;  // visible: keys that the first query sees, of all the sequence's
};

// From scores and dP to P = exp(scale Q K^T - lse) and dS = scale P (dP - delta), zeros where a key is not seen.
inline void softmaxBack(const Dims& d, const Block& block, long base, long stride, long width, float* p, float* ds) {
  for (long r = 0; r < block.rows; r++) {
    const float delta = dot(block.dO + r * d.oRow, block.o + r * d.oRow, d.dim), shift = block.lse[r * d.heads];
    float* pr = p + r * stride;
    float* dr = ds + r * stride;
    long j = base;
    for (const long first = d.firstKey(block.visible + r); j < first; j++) pr[j] = dr[j] = 0;
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
  const long stride = strideFor(block.keys), rows = block.rows, width = block.visible - 1 + rows;
  const int inner = rows;
  float* p = scratch(3, kQueries * stride);
  float* ds = scratch(4, kQueries * stride);
  typename P::T* panels = elements<P>(5, panelSize<P>(kQueries, d.dim));
  const Triangle<P> triangle(d, block.visible, rows);
  triangle.scores(rowsOf<P>({block.q, d.qRow, 1}, rows, d.dim, 7, false), keys, {p, stride, 1});
  triangle.scores(rowsOf<P>({block.dO, d.oRow, 1}, rows, d.dim, 7, false), values, {ds, stride, 1});
  softmaxBack(d, block, triangle.zeros, stride, width, p, ds);
  triangle.times(rowsAt<P>({ds, stride, 1}, rows, width, 8), keysAlong, stepsOf<P>(block.keys), d.dim, {block.dq, d.qRow, 1});
  packAll<P>(StridedRight(block.dO, inner, d.oRow, 1), d.dim, panels);
  triangle.transposedTimes(rowsAt<P>({p, 1, stride}, width, inner, 8), panels, d.dim, {dv, d.dim, 1, 1, true});
  packAll<P>(StridedRight(block.q, inner, d.qRow, 1), d.dim, panels);
  triangle.transposedTimes(rowsAt<P>({ds, 1, stride}, width, inner, 8), panels, d.dim, {dk, d.dim, 1, 1, true});
}

// Adds up shares [rows, dim] of the gradients of keys and of values, `values` floats behind them, for `count` tokens, in one order.
inline void addShares(const Dims& d, const std::vector<const float*>& shares, const std::vector<long>& values, long count, float* dk, float* dv) {
  for (long t = 0; t < count; t++) {
    std::memset(dk + t * d.kRow, 0, d.dim * 4);
    std::memset(dv + t * d.kRow, 0, d.dim * 4);
    for (size_t i = 0; i < shares.size(); i++) {
      axpy(1, shares[i] + t * d.dim, dk + t * d.kRow, d.dim);
      axpy(1, shares[i] + values[i] + t * d.dim, dv + t * d.kRow, d.dim);
    }
  }
}

// o, lse and dO [tokens, ...] -> dq, with dk and dv beside it as in qkv.
template <class P>
void backwardAll(const Dims& d, const std::vector<Sequence>& sequences, const float* qkv, const float* o, const float* lse, const float* dO, float* dq) {
  const Packed in(d, qkv);
  float* dk = dq + d.heads * d.dim;
  float* dv = dk + d.groups * d.dim;
  const Panels<P> keys(d, sequences, in.k, Side::kAcross, 0), values(d, sequences, in.v, Side::kAcross, 1),
      keysAlong(d, sequences, in.k, Side::kAlong, 2);
  const Parts parts(d, sequences);
  float* shares = scratch(6, parts.shares);
  parts.run([&](const Part& part) {
    const Sequence& s = sequences[part.sequence];
    const long group = part.head / d.group(), share = s.keys * d.dim;
    float* mine = shares + part.share;
    std::memset(mine, 0, 2 * share * 4);
    for (long i = part.index * kQueries; i < s.queries; i += part.of * kQueries) {
      const long token = s.first + i, at = token * d.qRow + part.head * d.dim, out = token * d.oRow + part.head * d.dim;
      const Block block{in.q + at, o + out, lse + token * d.heads + part.head, dO + out, dq + at,
                        std::min<long>(kQueries, s.queries - i), s.offset() + i + 1, s.keys};
      backwardBlock<P>(d, block, keys.of(part.sequence, group), values.of(part.sequence, group), keysAlong.of(part.sequence, group), mine,
                       mine + share);
    }
  });
  struct Sum {
    long sequence, group, from;
  };
  constexpr long chunk = 64;  // tokens per task
  std::vector<Sum> sums;
  for (long i = 0; i < static_cast<long>(sequences.size()); i++)
    for (long g = 0; g < d.groups; g++)
      for (long from = 0; from < sequences[i].queries; from += chunk) sums.push_back({i, g, from});
  parallelFor(static_cast<int>(sums.size()), [&](int task, int) {
    const auto [i, g, from] = sums[task];
    const Sequence& s = sequences[i];
    std::vector<const float*> mine;
    std::vector<long> values;
    const auto take = [&](long sequence, long key) {
      const Part* first = &parts.all[parts.starts[sequence]];
      const long count = d.group() * first->of, share = sequences[sequence].keys * d.dim;
      for (long j = g * count; j < (g + 1) * count; j++) mine.push_back(shares + first[j].share + key * d.dim), values.push_back(share);
    };
    take(i, s.offset() + from);
    if (i == 0)
      for (size_t other = 1; other < sequences.size(); other++)
        if (sequences[other].prefix) take(other, from);
    const long at = (s.first + from) * d.kRow + g * d.dim;
    addShares(d, mine, values, std::min(chunk, s.queries - from), dk + at, dv + at);
  });
}

}  // namespace tunebook
