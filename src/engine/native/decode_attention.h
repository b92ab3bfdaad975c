// Attention of some queries to the keys and values of their sequence (key_values.h): queries of one head of keys go past the keys together,
// 16 keys at a time, under an online softmax.
#pragma once
#include "key_values.h"

namespace tunebook {

constexpr int kTogether = 4;  // queries

// One query, and what is made of it over some of its keys: sums of values relative to exp(top), and the sum of the exponentials.
struct Query {
  const float* q;  // [dim], scaled
  float* sums;     // [wide]
  long first, end;  // keys that it sees
  float top, total;
};

struct KeysOf {
  long sequence, layer, group;
  float cap;  // scores become cap tanh(score / cap), where it is not 0
};

inline float capped(float score, float cap) { return cap * std::tanh(score / cap); }

// Tiles first, first + step, ... of the keys that any of C queries sees.
template <int C, class T>
void attendTiles(const KeyValues& cache, const KeysOf& at, Query* queries, long firstTile, long endTile, long step) {
  constexpr int kTile = KeyValues::kTile, kVecs = kTile / kLanes;
  const long dim = cache.shape().dim, wide = cache.shape().wide();
  for (long tile = firstTile; tile < endTile; tile += step) {
    const long key = tile * kTile;
    const T *k = cache.keys<T>(at.sequence, at.layer, at.group, key), *v = cache.values<T>(at.sequence, at.layer, at.group, key);
    alignas(64) float shares[C][kTile];
    {
      Vec scores[C][kVecs] = {}, more[C][kVecs] = {};
      long d = 0;
      for (; d + 2 <= dim; d += 2, k += 2 * kTile)
        unrolled<kVecs>([&](auto e) INLINE {
          const Vec x = load(k + e * kLanes), y = load(k + kTile + e * kLanes);
          unrolled<C>([&](auto c) INLINE {
            scores[c][e] += x * queries[c].q[d];
            more[c][e] += y * queries[c].q[d + 1];
          });
        });
      if (d < dim)
        unrolled<kVecs>([&](auto e) INLINE {
          const Vec x = load(k + e * kLanes);
          unrolled<C>([&](auto c) INLINE { scores[c][e] += x * queries[c].q[d]; });
        });
      eachOf<C, kVecs>([&](auto c, auto e) INLINE { store(shares[c] + e * kLanes, scores[c][e] + more[c][e]); });
    }
    for (int c = 0; c < C; c++) {
      Query& query = queries[c];
      float* share = shares[c];
      const int from = std::clamp<long>(query.first - key, 0, kTile), to = std::clamp<long>(query.end - key, from, kTile);
      if (from == to) {
        std::fill(share, share + kTile, 0.0f);
        continue;
      }
      if (at.cap > 0)
        for (int i = from; i < to; i++) share[i] = capped(share[i], at.cap);
      float top = query.top;
      for (int i = from; i < to; i++) top = std::max(top, share[i]);
      if (top > query.top) {
        const float shrink = std::exp(query.top - top);
        query.top = top, query.total *= shrink;
        for (long j = 0; j < wide; j += kLanes) store(query.sums + j, load(query.sums + j) * shrink);
      }
      for (int e = 0; e < kTile; e += kLanes) store(share + e, exp(load(share + e) - top));
      for (int i = 0; i < kTile; i++) share[i] = i >= from && i < to ? share[i] : 0;
      for (int i = 0; i < kTile; i++) query.total += share[i];
    }
    for (long j = 0; j < wide; j += kLanes) {
      Vec sums[C];
      unrolled<C>([&](auto c) INLINE { sums[c] = load(queries[c].sums + j); });
      for (int i = 0; i < kTile; i++) {
        const Vec x = load(v + i * wide + j);
        unrolled<C>([&](auto c) INLINE { sums[c] += x * shares[c][i]; });
      }
      unrolled<C>([&](auto c) INLINE { store(queries[c].sums + j, sums[c]); });
    }
  }
}

// Part number `part` of `parts` of what `count` queries (at most kTogether) see: every parts-th tile of keys.
inline void attend(const KeyValues& cache, const KeysOf& at, Query* queries, int count, long part, long parts) {
  long first = queries[0].first, end = queries[0].end;
  for (int c = 0; c < count; c++) {
    first = std::min(first, queries[c].first), end = std::max(end, queries[c].end);
    queries[c].top = -1e30f, queries[c].total = 0;
    std::fill(queries[c].sums, queries[c].sums + cache.shape().wide(), 0.0f);
  }
  // By the tile's own number, so that who attends to a position is known when it is stored.
  const long tile = first / KeyValues::kTile, begin = tile + (part - tile % parts + parts) % parts;
  const long last = (end + KeyValues::kTile - 1) / KeyValues::kTile;
  unrolled<kTogether>([&](auto less) {
    if (count != less + 1) return;
    if (cache.shape().exact) attendTiles<less + 1, float>(cache, at, queries, begin, last, parts);
    else attendTiles<less + 1, Fp16>(cache, at, queries, begin, last, parts);
  });
}

}  // namespace tunebook
