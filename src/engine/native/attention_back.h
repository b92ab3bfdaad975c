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
// and dS also as a right side whose inner dimension is the keys. fp32 stands where the scores stood.
template <class P>
struct Block {
  static constexpr long kRow = kColumns / P::kPack, kSize = kKeys<P> * kWide / P::kPack;
  float *scores, *slopes;
  typename P::T *p, *ds, *dsRight;
  Block() : scores(scratch(3, kKeys<P> * kWide)), slopes(scratch(4, kKeys<P> * kWide)) {
    if constexpr (P::kPack == 1) p = scores, ds = dsRight = slopes;
    else p = elements<P>(5, 3 * kSize), ds = p + kSize, dsRight = ds + kSize;
  }
  // Rows j to j + kPack - 1 of vector v of columns.
  void put(long j, int v, const Vec (&e)[P::kPack], const Vec (&s)[P::kPack]) const {
    if constexpr (P::kPack == 1) {
      store(scoreAt<P>(scores, j, v), e[0]);
      store(scoreAt<P>(slopes, j, v), s[0]);
    } else {
      const long at = scoreAt<P>(scores, j, v) - scores;
      for (int i = 0; i < P::kPack; i++) {
        store(reinterpret_cast<Half*>(p) + at + i * kColumns, e[i]);
        store(reinterpret_cast<Half*>(ds) + at + i * kColumns, s[i]);
      }
      putRight<P>(dsRight, j, v, s);
    }
  }
};

// One block of keys for one tile. With P = exp(scale K Q^T - lse), dP = V dO^T and delta = rowsum(dO O): dS = scale P (dP - delta),
// dV += P dO, dK += dS Q, dQ^T += K^T dS.
template <class P>
void backwardBlock(const Back<P>& t, const Rows<P>& keys, const Rows<P>& values, const Rows<P>& keysTurned, long key, int width, float* dk, float* dv) {
  const Dims& d = t.c.d;
  const long n = std::min<long>(kKeys<P>, t.c.end() - key), dim = d.dim;
  const Block<P> block;
  scoresOf<P>(keys, t.q, key, n, block.scores);
  scoresOf<P>(values, t.dO, key, n, block.slopes);
  const bool cuts = t.sight.cuts(key, key + n);
  for (long j = 0; j < n; j += P::kPack)
    for (int v = 0; v < kVectorsWide; v++) {
      Vec e[P::kPack] = {}, s[P::kPack] = {};
      for (int i = 0; i < P::kPack && j + i < n; i++) {
        e[i] = P::exp(load(scoreAt<P>(block.scores, j + i, v)) * d.scale - load(t.lse + v * kLanes));
        if (cuts) e[i] = t.sight.seen(key + j + i, v, e[i], 0);
        s[i] = e[i] * (load(scoreAt<P>(block.slopes, j + i, v)) - load(t.delta + v * kLanes)) * d.scale;
      }
      block.put(j, v, e, s);
    }
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
  for (long chunk = 0; chunk < chunks; chunk++) {
    const long place = chunk % part.of;
    if ((chunk / part.of % 2 ? part.of - 1 - place : place) != part.index) continue;
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
        t.lse[i] = i < c.count ? in.lse[c.token(i) * d.heads + c.head(i)] : 0;
        t.delta[i] = i < c.count ? dotAny(c.row(in.dO, d.oRow, i), c.row(in.o, d.oRow, i), d.dim) : 0;
      }
    }
    for (long key = all[0].c.template begin<P>(); key < all.back().c.end(); key += kKeys<P>)
      for (const Back<P>& t : all)
        if (key >= t.c.template begin<P>() && key < t.c.end()) {
          zeroTo(std::min<long>(t.c.end(), key + kKeys<P>));
          backwardBlock<P>(t, keys, values, keysTurned, key, width, dk, dv);
        }
    for (const Back<P>& t : all)
      turnBack(t.c, t.dq, [&](int i, const float* row) { std::memcpy(t.c.row(in.dq, d.qRow, i), row, d.dim * 4); });
  }
  zeroTo(s.keys);
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
