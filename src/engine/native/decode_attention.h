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
  float top;
  Vec totals;  // by lanes
  float total() const { return sum(totals); }
};

struct KeysOf {
  long sequence, layer, group;
  float cap;  // scores become cap tanh(score / cap), where it is not 0
};

constexpr float kUnseen = -1e30f;

inline float largestOf(Vec v) {
#if defined(__AVX512F__)
  return _mm512_mask_reduce_max_ps(0xffff, reinterpret_cast<__m512>(v));
#else
  float most = v[0];
  for (int i = 1; i < kLanes; i++) most = std::max(most, v[i]);
  return most;
#endif
}

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
      const long from = query.first - key, to = query.end - key;
      if (from >= kTile || to <= 0) {
        std::fill(share, share + kTile, 0.0f);
        continue;
      }
      if (at.cap > 0)
        for (int i = 0; i < kTile; i++) share[i] = capped(share[i], at.cap);
      Vec scores[kVecs];
      unrolled<kVecs>([&](auto e) INLINE { scores[e] = load(share + e * kLanes); });
      if (from > 0 || to < kTile)
        for (int i = 0; i < kTile; i++)
          if (i < from || i >= to) scores[i / kLanes][i % kLanes] = kUnseen;
      Vec tops = scores[0];
      unrolled<kVecs>([&](auto e) INLINE { tops = scores[e] > tops ? scores[e] : tops; });
      const float top = std::max(query.top, largestOf(tops));
      if (top > query.top) {
        const float shrink = std::exp(query.top - top);
        query.top = top, query.totals *= shrink;
        for (long j = 0; j < wide; j += kLanes) store(query.sums + j, load(query.sums + j) * shrink);
      }
      unrolled<kVecs>([&](auto e) INLINE {
        const Vec part = scores[e] > kUnseen ? exp(scores[e] - top) : Vec{};
        query.totals += part;
        store(share + e * kLanes, part);
      });
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
    queries[c].top = kUnseen, queries[c].totals = Vec{};
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
