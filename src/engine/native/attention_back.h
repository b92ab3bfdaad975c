// The backward pass of attention. A thread takes a share of a group's tiles of queries through the keys, and has sums of its own for the
// gradients of keys and values; the shares are added up in one order.
#pragma once
#include "attention.h"

namespace tunebook {

// What a thread has of a tile while it goes through the keys.
template <class P>
struct Back {
  Columns c;
  Sight sight;
  typename P::T *q, *dO, *qAlong, *dOAlong;
  float *dq, *lse, *delta;
};

// A share of one group's tiles: every `of`-th chunk of a few tiles, there and back, so that early and late ones are dealt out evenly.
struct Part {
  long sequence, group, index, of;
  size_t share;  // where its share of the gradients of keys and values stands
};

constexpr long kChunk = 4;  // tiles that go through the keys together

struct Parts {
  std::vector<Part> all;
  std::vector<long> starts;  // of each sequence's parts
  size_t shares = 0;
  Parts(const Dims& d, const std::vector<Sequence>& sequences) {
    const long threads = threadCount(), lists = sequences.size() * d.groups;
    long wanted = (2 * threads + lists - 1) / lists;
    while (wanted < 2 * threads && lists * wanted % threads) wanted++;
    for (long i = 0; i < static_cast<long>(sequences.size()); i++) {
      const long chunks = (Columns::tiles(d, sequences[i]) + kChunk - 1) / kChunk, of = std::min(chunks, wanted);
      starts.push_back(all.size());
      for (long g = 0; g < d.groups; g++)
        for (long index = 0; index < of; index++) {
          all.push_back({i, g, index, of, shares});
          shares += 2 * sequences[i].keys * d.dim;
        }
    }
  }
};

template <class T>
struct Gradients {
  const T *q, *o, *dO;
  const float* lse;
  float* dq;
};

// A block of probabilities and of dS as the products with them read them: as left sides with rows of columns, [kPanels][kKeys][kColumns],
// and dS also as a right side whose inner dimension is the keys, which for fp32 is the same.
template <class P>
struct Block {
  using Kept = typename P::Kept;
  static constexpr long kRow = kColumns / P::kPack, kSize = kKeys<P> * kWide / P::kPack;
  typename P::T *p, *ds, *dsRight;
  float* slopes = scratch(4, kKeys<P> * kWide);  // of what keeps scores within their cap, where there is one
  Block() : p(elements<P>(3, 3 * kSize)), ds(p + kSize), dsRight(P::kPack == 1 ? ds : ds + kSize) {}
  // Vector v of columns in row j.
  static Kept* at(typename P::T* rows, long j, int v) {
    return scoreAt<P>(reinterpret_cast<Kept*>(rows), j, v);
  }
  // R rows from row j on of V vectors of columns; bf16 also to a right side, where there is one.
  template <int R, int V>
  INLINE static void put(typename P::T* rows, typename P::T* right, const Vec (&x)[R][V], long j, int first) {
    if constexpr (P::kPack == 1 || R == 1) {
      eachOf<R, V>([&](auto r, auto v) INLINE { store(at(rows, j + r, first + v), x[r][v]); });
      if constexpr (P::kPack > 1)
        if (right) unrolled<V>([&](auto v) INLINE { store(rightAt<P>(right, j, first + v), pairs(x[0][v], Vec{})); });
    } else {
      eachOf<R / 2, V>([&](auto r, auto v) INLINE {
        const long i = j + 2 * r;
        const VecBits bits = storeRows(at(rows, i, first + v), at(rows, i + 1, first + v), x[2 * r][v], x[2 * r + 1][v]);
        if (right) store(rightAt<P>(right, i, first + v), bits);
      });
    }
  }
};

// From a panel's scores to its probabilities.
template <class P>
struct Probabilities : Panel {
  const Block<P>& block;
  const float* lse;  // times log2(e)
  float scale;       // times log2(e)
  template <int R, int V>
  INLINE void put(Vec (&acc)[R][V], long j, long, int) const {
    if (cap.by)
      eachOf<R, V>([&](auto r, auto v) INLINE {
        const Vec t = tanhOf(acc[r][v] * cap.by);
        acc[r][v] = cap.back * t;
        store(scoreAt<P>(block.slopes, j + r, first + v), 1.0f - t * t);
      });
    hide(acc, j);
    unrolled<V>([&](auto v) INLINE {
      const Vec shift = load(lse + (first + v) * kLanes);
      unrolled<R>([&](auto r) INLINE { acc[r][v] = P::exp2(acc[r][v] * scale - shift); });
    });
    block.put(block.p, nullptr, acc, j, first);
  }
};

// From dP - delta to dS, but for the scale of the scores.
template <class P>
struct Slopes {
  const Block<P>& block;
  const float* negative;  // -delta
  int first;
  bool capped;
  Vec begin(int v) const { return load(negative + (first + v) * kLanes); }
  template <int R, int V>
  INLINE void put(Vec (&acc)[R][V], long j, long, int) const {
    eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] *= load(block.at(block.p, j + r, first + v)); });
    if (capped) eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] *= load(scoreAt<P>(block.slopes, j + r, first + v)); });
    block.put(block.ds, block.dsRight, acc, j, first);
  }
};

// One block of keys for one tile. With P = exp(scale K Q^T - lse), dP = V dO^T, delta = rowsum(dO O) and dS = P (dP - delta):
// dV += P dO, and, to be scaled, dK += dS Q, dQ^T += K^T dS.
template <class P>
void backwardBlock(const Back<P>& t, const Rows<P>& keys, const Rows<P>& values, const Rows<P>& keysTurned, long key, int width, float* dk, float* dv) {
  const Dims& d = t.c.d;
  const long n = std::min<long>(kKeys<P>, t.c.end() - key), dim = d.dim;
  const Block<P> block;
  const Sight* cuts = t.sight.cuts(key, key + n) ? &t.sight : nullptr;
  scoresOf<P>(keys, t.q, key, n, [&](int p) { return Probabilities<P>{{cuts, key, p * kVectors, Cap(d)}, block, t.lse, d.scale * kLog2e}; });
  scoresOf<P>(values, t.dO, key, n, [&](int p) { return Slopes<P>{block, t.delta, p * kVectors, d.cap > 0}; });
  const auto add = [&](const typename P::T* left, const typename P::T* along, float* sums) {
    constexpr long row = Block<P>::kRow;
    Product<P> products[kPanels];
    for (long at = 0; at < dim; at += width, along += stepsOf<P>(kWide) * width) {
      for (int panel = 0; panel < kPanels; panel++)
        products[panel] = {{left + panel * kKeys<P> * row, P::kTile * row, 1, row, kColumns}, along + panel * row * width};
      float* to = sums + key * dim + at;
      multiplyPanel<P>(products, kPanels, n, std::min<long>(width, dim - at), {to, dim, 1, 1, to}, width);
    }
  };
  add(block.p, t.dOAlong, dv);
  add(block.ds, t.qAlong, dk);
  addColumns<P>(keysTurned, dim, block.dsRight, key, n, key == t.c.template begin<P>(), t.dq);
}

template <class P, class T>
void backwardPart(const Dims& d, const Sequence& s, const Part& part, const Gradients<T>& in, const Rows<P>& keys, const Rows<P>& values,
                  const Rows<P>& keysTurned, float* dk, float* dv) {
  const int width = widthFor(d.dim);
  const size_t across = kPanels * kColumns * stepsOf<P>(d.dim), along = panelSize<P>(kWide, d.dim, width), floats = kWide * (d.dim + 2);
  const long tiles = Columns::tiles(d, s), chunks = (tiles + kChunk - 1) / kChunk;
  long zeroed = 0;
  const auto zeroTo = [&](long key) {  // just before sums are added there, while the cache has them
    if (key <= zeroed) return;
    for (float* sums : {dk, dv}) std::memset(sums + zeroed * d.dim, 0, (key - zeroed) * d.dim * 4);
    zeroed = key;
  };
  const auto nextFrom = [&](long chunk) {
    const auto owner = [&] { return chunk / part.of % 2 ? part.of - 1 - chunk % part.of : chunk % part.of; };
    while (chunk < chunks && owner() != part.index) chunk++;
    return chunk;
  };
  for (long chunk = nextFrom(0), next; chunk < chunks; chunk = next) {
    next = nextFrom(chunk + 1);
    std::vector<Back<P>> all;
    typename P::T* packed = elements<P>(6, kChunk * 2 * (across + along));
    float* sums = scratch(7, kChunk * floats);
    for (long tile = chunk * kChunk; tile < std::min(tiles, (chunk + 1) * kChunk); tile++) {
      const Columns c(d, s, part.group, tile);
      all.push_back({c, Sight(c), packed, packed + across, packed + 2 * across, packed + 2 * across + along, sums, sums + kWide * d.dim,
                     sums + kWide * (d.dim + 1)});
      packed += 2 * (across + along);
      sums += floats;
      const Back<P>& t = all.back();
      packQueries<P>(c, in.q, d.qRow, t.q);
      packQueries<P>(c, in.dO, d.oRow, t.dO);
      packQueriesAlong<P>(c, in.q, d.qRow, width, t.qAlong);
      packQueriesAlong<P>(c, in.dO, d.oRow, width, t.dOAlong);
      for (int i = 0; i < kWide; i++) {
        t.lse[i] = i < c.count ? in.lse[c.token(i) * d.heads + c.head(i)] * kLog2e : 0;
        t.delta[i] = i < c.count ? -dotAny(c.row(in.dO, d.oRow, i), c.row(in.o, d.oRow, i), d.dim) : 0;
      }
    }
    if (next < chunks) {  // its rows come meanwhile
      const long first = part.group * d.group() * d.dim, bytes = d.group() * d.dim * sizeof(T);
      const Columns from(d, s, part.group, next * kChunk), last(d, s, part.group, std::min(tiles, (next + 1) * kChunk) - 1);
      for (long t = from.token(0); t <= last.token(last.count - 1); t++) {
        askFor(in.q + t * d.qRow + first, bytes);
        for (const T* x : {in.o, in.dO}) askFor(x + t * d.oRow + first, bytes);
      }
    }
    for (long key = all[0].c.template begin<P>(); key < all.back().c.end(); key += kKeys<P>)
      for (const Back<P>& t : all)
        if (key >= t.c.template begin<P>() && key < t.c.end()) {
          zeroTo(std::min<long>(t.c.end(), key + kKeys<P>));
          backwardBlock<P>(t, keys, values, keysTurned, key, width, dk, dv);
        }
    for (const Back<P>& t : all)
      turnBack(t.c, t.dq, [&](int i, const float* row) {
        float* to = t.c.row(in.dq, d.qRow, i);
        for (long k = 0; k < d.dim; k++) to[k] = row[k] * d.scale;
      });
  }
  zeroTo(s.keys);
}

// Adds up shares [rows, dim] of the gradients of keys and of values, `values` floats behind them, for `count` tokens, in one order.
inline void addShares(const Dims& d, const std::vector<const float*>& shares, const std::vector<long>& values, long count, float* dk, float* dv) {
  for (long t = 0; t < count; t++) {
    std::memset(dk + t * d.kRow, 0, d.dim * 4);
    std::memset(dv + t * d.kRow, 0, d.dim * 4);
    for (size_t i = 0; i < shares.size(); i++) {
      axpy(d.scale, shares[i] + t * d.dim, dk + t * d.kRow, d.dim);
      axpy(1, shares[i] + values[i] + t * d.dim, dv + t * d.kRow, d.dim);
    }
  }
}

// o, lse and dO [tokens, ...] -> dq, with dk and dv beside it as in qkv.
template <class P, class T>
void backwardAll(const Dims& d, const std::vector<Sequence>& sequences, const T* qkv, const T* o, const float* lse, const T* dO, float* dq) {
  const Packed in(d, qkv);
  float* dk = dq + d.heads * d.dim;
  float* dv = dk + d.groups * d.dim;
  const Keys<P> keys(d, sequences, in.k, false, 0), values(d, sequences, in.v, false, 1), keysTurned(d, sequences, in.k, true, 2);
  const Parts parts(d, sequences);
  float* shares = scratch(10, parts.shares);
  parallelFor(static_cast<int>(parts.all.size()), [&](int task, int) {
    const Part& part = parts.all[task];
    const Sequence& s = sequences[part.sequence];
    const long share = s.keys * d.dim;
    float* mine = shares + part.share;
    backwardPart<P>(d, s, part, Gradients<T>{in.q, o, dO, lse, dq}, keys.of(part.sequence, s, part.group), values.of(part.sequence, s, part.group),
                    keysTurned.of(part.sequence, s, part.group), mine, mine + share);
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
      const long count = first->of, share = sequences[sequence].keys * d.dim;
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
