// Causal attention with grouped heads, the forward pass; backward in attention_back.h. Scratch memory grows with the length of the row,
// never with its square. See ops/attention.ts. Scores stand transposed, a row for a key and a column for a query of one of the group's heads,
// so that all heads of a group share what is packed of its keys, softmax runs down the columns, and panels are full whatever a head's size.
#pragma once
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "cap.h"
#include "gemm.h"

namespace tunebook {

struct Dims {
  long heads, groups, dim;
  long qRow, kRow, oRow;  // floats from one token to the next in q, in k and v, and in the output
  float scale;
  long window;  // keys that a query sees, its own among them
  float cap;    // what scores are kept within, or 0: cap tanh(score / cap)
  long group() const { return heads / groups; }
  // The first key that a query sees whose own key is number `visible`, counted from 1.
  long firstKey(long visible) const { return std::max(0L, visible - window); }
};

// Keeps scores within their cap, before they are scaled.
struct Cap {
  float by = 0, back = 0;  // scale / cap, and cap / scale; 0 where there is none
  explicit Cap(const Dims& d) : by(d.cap > 0 ? d.scale / d.cap : 0), back(d.cap > 0 ? d.cap / d.scale : 0) {}
  float operator()(float score) const { return by ? back * std::tanh(score * by) : score; }
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
template <class T>
struct Packed {
  const T *q, *k, *v;
  Packed(const Dims& d, const T* qkv) : q(qkv), k(q + d.heads * d.dim), v(k + d.groups * d.dim) {}
};

// Turns one row of scores into probabilities over its first `visible` keys and returns the log of their sum.
inline float softmaxRow(float* s, long visible, long width, float scale) {
  const float shift = largest(s, visible, s[0]) * scale;
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

constexpr int kWide = 48;                   // columns of a tile of scores
constexpr int kPanels = kWide / kColumns;   // of a tile
template <class P>
constexpr int kKeys = P::kTile * 8;         // keys at a time
constexpr float kHidden = -1e30f;           // the score of a key that is not seen

// Keys or values of every sequence and group, as left sides: their rows are the keys, or, turned, the dimensions of a head. x is at
// the first token of those keys.
template <class P>
class Keys {
 public:
  template <class T>
  Keys(const Dims& d, const std::vector<Sequence>& all, const T* x, bool turned, int slot) : dims_(d), turned_(turned) {
    size_t total = 0;
    for (const Sequence& s : all) {
      starts_.push_back(total);
      total += size(s) * d.groups;
    }
    data_ = elements<P>(slot, total);
    parallelFor(static_cast<int>(all.size() * d.groups), [&](int task, int) {
      const long sequence = task / d.groups, g = task % d.groups;
      const Sequence& s = all[sequence];
      const T* from = x + s.first * d.kRow + g * d.dim;
      long row = d.kRow;
      if (s.prefix) {
        T* both = reinterpret_cast<T*>(scratch(9, s.keys * d.dim));
        for (long t = 0; t < s.keys; t++) {
          const long token = t < s.prefix ? t : s.first + t - s.prefix;
          std::memcpy(both + t * d.dim, x + token * d.kRow + g * d.dim, d.dim * sizeof(T));
        }
        from = both, row = d.dim;
      }
      typename P::T* to = data_ + starts_[sequence] + g * size(s);
      if (turned) packRows<P>(Left{from, 1, row}, d.dim, s.keys, to);
      else packRows<P>(Left{from, row, 1}, s.keys, d.dim, to);
    });
  }
  Rows<P> of(long sequence, const Sequence& s, long group) const {
    const int inner = turned_ ? s.keys : dims_.dim;
    return {data_ + starts_[sequence] + group * size(s), P::kTile * stepsOf<P>(inner), P::kTile, 1, inner};
  }

 private:
  size_t size(const Sequence& s) const { return turned_ ? rowsSize<P>(dims_.dim, s.keys) : rowsSize<P>(s.keys, dims_.dim); }
  const Dims& dims_;
  const bool turned_;
  typename P::T* data_;
  std::vector<size_t> starts_;
};

// A tile's columns: queries of all heads of a group, token by token, from number `first` of the sequence's on.
struct Columns {
  const Dims& d;
  const Sequence& s;
  const long group, first;
  const int count;
  Columns(const Dims& dims, const Sequence& sequence, long g, long tile)
      : d(dims), s(sequence), group(g), first(tile * kWide), count(std::min<long>(kWide, sequence.queries * dims.group() - first)) {}
  static long tiles(const Dims& d, const Sequence& s) { return (s.queries * d.group() + kWide - 1) / kWide; }
  long token(int c) const { return s.first + (first + c) / d.group(); }
  long head(int c) const { return group * d.group() + (first + c) % d.group(); }
  // Keys that a column sees are [firstKey(visible), visible).
  long visible(int c) const { return s.offset() + (first + c) / d.group() + 1; }
  long end() const { return visible(count - 1); }
  template <class P>
  long begin() const { return d.firstKey(visible(0)) / kKeys<P> * kKeys<P>; }
  // Where a column's values begin in a matrix of so many floats a token.
  template <class T>
  T* row(T* x, long width, int c) const { return x + token(c) * width + head(c) * d.dim; }
};

// Which keys the columns of a tile see.
class Sight {
 public:
  explicit Sight(const Columns& c) : sureFrom_(c.d.firstKey(c.end())), sureTo_(c.visible(0)) {
    for (int i = 0; i < kWide; i++) {
      visible_[i] = i < c.count ? c.visible(i) : 0;
      first_[i] = i < c.count ? c.d.firstKey(visible_[i]) : 0;
    }
  }
  // Whether some column does not see all keys [from, to).
  bool cuts(long from, long to) const { return from < sureFrom_ || to > sureTo_; }
  // x where vector v of columns sees the key, otherwise `hidden`.
  Vec seen(long key, int v, Vec x, float hidden) const {
    const VecInt at = VecInt{} + static_cast<int32_t>(key);
    const VecInt sees = (at < vector(visible_, v)) & (at >= vector(first_, v));
    return sees ? x : splat(hidden);
  }

 private:
  static VecInt vector(const int32_t* values, int v) {
    VecInt some;
    std::memcpy(&some, values + v * kLanes, sizeof some);
    return some;
  }
  const long sureFrom_, sureTo_;
  int32_t visible_[kWide], first_[kWide];
};

// Scores of a block of keys, [kPanels][kKeys][kColumns]: the place of vector v of columns in the row of key j.
template <class P, class T>
inline T* scoreAt(T* scores, long j, int v) {
  return scores + (v * kLanes / kColumns * kKeys<P> + j) * kColumns + v * kLanes % kColumns;
}

constexpr int kVectorsWide = kWide / kLanes;

// The columns' values as a right side whose inner dimension is a head's: [kPanels][stepsOf(dim)][kColumns].
template <class P, class T>
inline void packQueries(const Columns& c, const T* x, long row, typename P::T* to) {
  for (int p = 0; p < kPanels; p++, to += stepsOf<P>(c.d.dim) * kColumns)
    packAcross(c.d.dim, std::clamp(c.count - p * kColumns, 0, kColumns), kColumns, to,
                  [&](int j, int k, int, float*) { return c.row(x, row, p * kColumns + j) + k; });
}

// The same as a right side whose inner dimension is the columns: panels of `width` dimensions, [kWide].
template <class P, class T>
inline void packQueriesAlong(const Columns& c, const T* x, long row, int width, typename P::T* to) {
  for (long n = 0; n < c.d.dim; n += width, to += stepsOf<P>(kWide) * width) {
    const int present = std::min<long>(width, c.d.dim - n);
    packAlong<T>(kWide, present, width, to, [&](int i, T* part) {
      if (i < c.count) return c.row(x, row, i) + n;
      std::fill(part, part + present, T{});
      return static_cast<const T*>(part);
    });
  }
}

// keys queries, for n keys from key on; put(panel) is where a panel's scores go.
template <class P, class Put>
inline void scoresOf(const Rows<P>& keys, const typename P::T* queries, long key, long n, const Put& put) {
  for (int p = 0; p < kPanels; p++) {
    const Product<P> product{keys.from(key), queries + p * stepsOf<P>(keys.inner) * kColumns};
    multiplyPanel<P>(&product, 1, n, kColumns, put(p));
  }
}

// A panel of scores in registers.
struct Panel {
  const Sight* cuts;  // null where every column sees all keys
  long key;           // its first row
  int first;          // its first vector of columns
  Cap cap;
  static Vec begin(int) { return Vec{}; }
  template <int R, int V>
  INLINE void keepWithin(Vec (&acc)[R][V]) const {
    if (cap.by) eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] = cap.back * tanhOf(acc[r][v] * cap.by); });
  }
  // Hides what a column does not see, from row j on.
  template <int R, int V>
  INLINE void hide(Vec (&acc)[R][V], long j) const {
    if (cuts) eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] = cuts->seen(key + j + r, first + v, acc[r][v], kHidden); });
  }
};

// Keeps the scores, and raises tops with them.
template <class P>
struct Scores : Panel {
  float *scores, *tops;
  template <int R, int V>
  INLINE void put(Vec (&acc)[R][V], long j, long, int) const {
    keepWithin(acc);
    hide(acc, j);
    unrolled<V>([&](auto v) INLINE {
      float* at = tops + (first + v) * kLanes;
      Vec top = load(at);
      unrolled<R>([&](auto r) INLINE { top = acc[r][v] > top ? acc[r][v] : top; });
      store(at, top);
    });
    eachOf<R, V>([&](auto r, auto v) INLINE { store(scoreAt<P>(scores, j + r, first + v), acc[r][v]); });
  }
};

// Where vector v of columns in row j of a block stands (and in the next kPack - 1 rows) in a right side whose inner dimension is the keys.
template <class P>
inline typename P::T* rightAt(typename P::T* to, long j, int v) {
  return to + (v / kVectors * kKeys<P> + j) / P::kPack * kColumns + v % kVectors * kLanes;
}

// sums [kPanels][dim][kColumns] += turned values, for n keys from key on
template <class P>
inline void addColumns(const Rows<P>& turned, long dim, const typename P::T* values, long key, long n, bool first, float* sums) {
  for (int p = 0; p < kPanels; p++, sums += dim * kColumns) {
    const Product<P> product{turned.part(key, n), values + p * kKeys<P> / P::kPack * kColumns};
    multiplyPanel<P>(&product, 1, dim, kColumns, {sums, kColumns, 1, 1, first ? nullptr : sums});
  }
}

// From sums [kPanels][dim][kColumns] to a row for each column: put(column, row).
template <class Put>
inline void turnBack(const Columns& c, const float* sums, const Put& put) {
  const long dim = c.d.dim;
  float* rows = scratch(8, kColumns * dim);
  for (int p = 0; p < kPanels; p++, sums += dim * kColumns) {
    for (long k = 0; k < dim; k += 8)
      for (int j = 0; j < kColumns; j += 8)
        if (k + 8 <= dim) transpose8(sums + k * kColumns + j, kColumns, rows + j * dim + k, dim);
        else
          for (long l = k; l < dim; l++)
            for (int i = 0; i < 8; i++) rows[(j + i) * dim + l] = sums[l * kColumns + j + i];
    for (int i = 0; i < kColumns && p * kColumns + i < c.count; i++) put(p * kColumns + i, rows + i * dim);
  }
}

// One tile: softmax over blocks of keys, with a reference (m) and a sum (l) for each column.
template <class P, class T>
void forwardTile(const Columns& c, const Rows<P>& keys, const Rows<P>& values, const T* q, T* o, float* lse) {
  const Dims& d = c.d;
  typename P::T* queries = elements<P>(2, kPanels * kColumns * stepsOf<P>(d.dim));
  float* scores = scratch(3, kKeys<P> * kWide);
  typename P::T* right;
  if constexpr (P::kPack == 1) right = scores;
  else right = elements<P>(4, kKeys<P> * kWide / P::kPack);
  float* sums = scratch(5, kWide * d.dim);
  packQueries<P>(c, q, d.qRow, queries);
  const Sight sight(c);
  const float scale = d.scale * kLog2e, far = kFar / d.scale;
  alignas(64) float m[kWide], l[kWide] = {}, tops[kWide];
  for (float* x : {m, tops}) std::fill(x, x + kWide, kHidden);
  const long begin = c.begin<P>();
  for (long key = begin; key < c.end(); key += kKeys<P>) {
    const long n = std::min<long>(kKeys<P>, c.end() - key);
    const Sight* cuts = sight.cuts(key, key + n) ? &sight : nullptr;
    scoresOf<P>(keys, queries, key, n, [&](int p) { return Scores<P>{{cuts, key, p * kVectors, Cap(d)}, scores, tops}; });
    VecInt rise{};
    for (int v = 0; v < kVectorsWide; v++) rise |= load(tops + v * kLanes) > load(m + v * kLanes) + far;
    if (any(rise))
      for (int v = 0; v < kVectorsWide; v++) {
        const Vec top = load(tops + v * kLanes), shrink = P::exp2((load(m + v * kLanes) - top) * scale);
        store(m + v * kLanes, top);
        store(l + v * kLanes, load(l + v * kLanes) * shrink);
        if (key == begin) continue;
        float* column = sums + v * kLanes / kColumns * d.dim * kColumns + v * kLanes % kColumns;
        for (long k = 0; k < d.dim; k++, column += kColumns) store(column, load(column) * shrink);
      }
    for (int v = 0; v < kVectorsWide; v++) {
      // Where a column has seen no key, what is hidden must still be far below.
      const Vec top = load(m + v * kLanes), shift = (top == kHidden ? Vec{} : top) * scale;
      Vec total[P::kPack] = {};
      const auto take = [&](long j, auto count) INLINE {
        Vec p[P::kPack] = {};
        unrolled<count>([&](auto i) INLINE { p[i] = P::exp2(load(scoreAt<P>(scores, j + i, v)) * scale - shift); });
        if constexpr (P::kPack == 1) store(rightAt<P>(right, j, v), p[0]);
        else store(rightAt<P>(right, j, v), pairs(p[0], p[1]));
        unrolled<count>([&](auto i) INLINE { total[i] += p[i]; });
      };
      long j = 0;
      for (; j + P::kPack <= n; j += P::kPack) take(j, std::integral_constant<int, P::kPack>{});
      if (j < n) take(j, std::integral_constant<int, 1>{});
      for (const Vec& part : total) store(l + v * kLanes, load(l + v * kLanes) + part);
    }
    addColumns<P>(values, d.dim, right, key, n, key == begin, sums);
  }
  turnBack(c, sums, [&](int i, float* row) {
    const float inverse = 1 / l[i];
    for (long k = 0; k < d.dim; k++) row[k] *= inverse;
    convert(static_cast<const float*>(row), c.row(o, d.oRow, i), d.dim);
    if (lse) lse[c.token(i) * d.heads + c.head(i)] = m[i] * d.scale + std::log(l[i]);
  });
}

// lse [tokens, heads] may be null.
template <class P, class T>
void forwardAll(const Dims& d, const std::vector<Sequence>& sequences, const T* q, const T* k, const T* v, T* o, float* lse) {
  const Keys<P> keys(d, sequences, k, false, 0), values(d, sequences, v, true, 1);
  struct Task {
    long sequence, group, tile;
  };
  std::vector<Task> tasks;
  for (long i = 0; i < static_cast<long>(sequences.size()); i++)
    for (long tile = Columns::tiles(d, sequences[i]); tile-- > 0;)  // those with most keys first
      for (long g = 0; g < d.groups; g++) tasks.push_back({i, g, tile});
  parallelFor(static_cast<int>(tasks.size()), [&](int task, int) {
    const auto [i, g, tile] = tasks[task];
    const Sequence& s = sequences[i];
    forwardTile<P>(Columns(d, s, g, tile), keys.of(i, s, g), values.of(i, s, g), q, o, lse);
  });
}

}  // namespace tunebook
