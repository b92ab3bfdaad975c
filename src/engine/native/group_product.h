// Products of some rows of x with a frozen matrix, 16 of its rows (a group) at a time: as whole numbers where its kind has codes, as floats
// otherwise. Few rows of x go past a matrix that comes from memory once; many go past a group that stays in the first-level cache. For
// decoding, and for whatever multiplies by frozen weights without keeping activations in bf16.
#pragma once
#include "elementwise.h"
#include "groups.h"

namespace tunebook {

constexpr int kTileRows = 8;  // rows of x that are multiplied together
constexpr int kRun = 32;      // values of x with a scale of their own

// Rows of x as products read them, in tiles of kTileRows rows (or of one, where there is only one row): values of the same column side by
// side. As floats, and quantised: signed bytes in words of four, and for each run of 32 the scale and the sum of what the bytes stand for.
struct Activations {
  long rows = 0, inner = 0;
  bool coded = false, plain = false;  // which of the two are made
  std::vector<float> values, scales, sums, halves;  // halves: of the sums, what the first 16 of a run make
  std::vector<int32_t> codes;

  int tile() const { return rows == 1 ? 1 : kTileRows; }
  void resize(long newRows, long newInner) {
    rows = newRows, inner = newInner;
    const long padded = (rows + tile() - 1) / tile() * tile();
    if (plain) values.resize(padded * inner);
    if (!coded) return;
    codes.resize(padded * inner / 4);
    scales.resize(padded * inner / kRun);
    sums.resize(padded * inner / kRun);
    halves.resize(padded * inner / kRun);
  }
  // Takes columns [from, to) of row m, from a multiple of kRun.
  void put(long m, const float* x, long from, long to) {
    const int width = tile();
    const long start = m / width * width * inner, r = m % width;
    if (plain)
      for (long k = from; k < to; k++) values[start + k * width + r] = x[k];
    if (!coded) return;
    for (long k = from; k < to; k += kRun) {
      const long run = start / kRun + k / kRun * width + r;
      putRun(x + k, &codes[start / 4 + k / 4 * width + r], width, &scales[run], &sums[run], &halves[run]);
    }
  }

 private:
  static void putRun(const float* x, int32_t* to, int width, float* scale, float* sum, float* half) {
    constexpr int kVecs = kRun / kLanes;
    Vec v[kVecs], top{}, total[2] = {};
    unrolled<kVecs>([&](auto i) INLINE {
      v[i] = load(x + i * kLanes);
      const Vec size = v[i] < 0 ? -v[i] : v[i];
      top = size > top ? size : top;
    });
    float most = 0;
    for (int i = 0; i < kLanes; i++) most = std::max(most, top[i]);
    const float by = most > 0 ? 127 / most : 0;
    int8_t bytes[kRun];
    unrolled<kVecs>([&](auto i) INLINE {
      const Vec whole = (v[i] * by + kMagic) - kMagic;
      total[i / (kVecs / 2)] += whole;
      typedef int8_t Bytes __attribute__((vector_size(kLanes)));
      const Bytes part = __builtin_convertvector(__builtin_convertvector(whole, VecInt), Bytes);
      std::memcpy(bytes + i * kLanes, &part, kLanes);
    });
    for (int i = 0; i < kRun / 4; i++) std::memcpy(to + i * width, bytes + 4 * i, 4);
    *scale = most / 127;
    *half = most / 127 * tunebook::sum(total[0]);
    *sum = *half + most / 127 * tunebook::sum(total[1]);
  }
};

// R rows of a tile of T times one group: out [R][kGroup].
template <class G, int R, int T>
void codedProduct(const uint8_t* group, long inner, const int32_t* codes, const float* scales, const float* sums, const float* halves, float* out) {
  constexpr long kBlock = G::kRuns * kRun;
  for (int at = 0; at < kGroup; at += kLanes) {
    Vec acc[R] = {};
    const uint8_t* block = group;
    const int32_t* x = codes;
    const float *by = scales, *total = sums;
    for (long k = 0; k < inner; k += kBlock, block += G::kBlockBytes)
      for (int run = 0; run < G::kRuns; run++, x += kRun / 4 * T, by += T, total += T) {
        VecInt quads[8];
        G::codes(block, run, at, quads);
        if constexpr (G::kTwice) {
          const float* half = halves + (total - sums);
          unrolled<2>([&](auto h) INLINE {
            Dots<G::kSigned, G::kWide> dots[R];
            unrolled<4>([&](auto j) INLINE { unrolled<R>([&](auto r) INLINE { dots[r].add(quads[4 * h + j], x + (4 * h + j) * T + r); }); });
            const Vec scale = G::scaleOf16(block, 2 * run + h, at);
            unrolled<R>([&](auto r) INLINE { acc[r] += scale * (dots[r].floats() * by[r] + G::kLeast * (h ? total[r] - half[r] : half[r])); });
          });
        } else {
          Dots<G::kSigned, G::kWide> dots[R];
          unrolled<8>([&](auto j) INLINE { unrolled<R>([&](auto r) INLINE { dots[r].add(quads[j], x + j * T + r); }); });
          const Vec scale = G::scale(block, run, at), least = G::minimum(block, run, at, scale);
          unrolled<R>([&](auto r) INLINE { acc[r] += dots[r].floats() * (scale * by[r]); });
          if (!G::kSigned || kRaise) unrolled<R>([&](auto r) INLINE { acc[r] += least * total[r]; });
        }
      }
    unrolled<R>([&](auto r) INLINE { store(out + r * kGroup + at, acc[r]); });
  }
}

// The same with floats: value(k, at) is 16 rows' value of column k.
template <int R, int T, class Value>
INLINE inline void plainProduct(long inner, const float* x, float* out, const Value& value) {
  constexpr int kSums = R == 1 ? 4 : R <= 3 ? 2 : 1;  // so that no addition waits for the one before
  for (int at = 0; at < kGroup; at += kLanes) {
    Vec acc[kSums][R] = {};
    long k = 0;
    for (; k + kSums <= inner; k += kSums)
      unrolled<kSums>([&](auto s) INLINE {
        const Vec w = value(k + s, at);
        unrolled<R>([&](auto r) INLINE { acc[s][r] += w * x[(k + s) * T + r]; });
      });
    for (; k < inner; k++) {
      const Vec w = value(k, at);
      unrolled<R>([&](auto r) INLINE { acc[0][r] += w * x[k * T + r]; });
    }
    unrolled<R>([&](auto r) INLINE {
      for (int s = 1; s < kSums; s++) acc[0][r] += acc[s][r];
      store(out + r * kGroup + at, acc[0][r]);
    });
  }
}

// out [tile][kGroup] = x's tile number t times a group.
template <class G, int R, int T>
void tileProduct(const Activations& x, long t, const uint8_t* group, float* out) {
  const long start = t * T * x.inner;
  if constexpr (G::kCoded) codedProduct<G, R, T>(group, x.inner, &x.codes[start / 4], &x.scales[start / kRun], &x.sums[start / kRun], &x.halves[start / kRun], out);
  else plainProduct<R, T>(x.inner, &x.values[start], out, [&](long k, int at) INLINE { return G::value(group + k * G::kBlockBytes, at); });
}

using TileProduct = void (*)(const Activations&, long, const uint8_t*, float*);
struct TileProducts {
  TileProduct alone = nullptr, rows[kTileRows] = {};  // rows[n - 1]: of a tile with n rows
  TileProduct of(const Activations& x, long t) const { return x.rows == 1 ? alone : rows[std::min<long>(kTileRows, x.rows - t * kTileRows) - 1]; }
};
template <class G>
TileProducts tileProducts() {
  TileProducts all;
  all.alone = tileProduct<G, 1, 1>;
  unrolled<kTileRows>([&](auto i) { all.rows[i] = tileProduct<G, i + 1, kTileRows>; });
  return all;
}

inline size_t rowBytesOfKind(int64_t kind, long columns) {
  size_t bytes = 0;
  withKind(kind, [&](auto k) { bytes = rowBytesOf<decltype(k)>(columns); });
  return bytes;
}

// A frozen matrix as products take it. `grouped`: its rows stand in groups, except for those behind the last whole 16.
struct GroupedMatrix {
  Weight weight;
  bool grouped = false, coded = false;
  TileProducts products;
  size_t row = 0;

  GroupedMatrix() = default;
  GroupedMatrix(const Weight& w, bool inGroups) : weight(w), grouped(inGroups), row(rowBytesOfKind(w.kind, w.columns)) {
    const bool can = withGrouped(w.kind, [&](auto g, auto) {
      using G = decltype(g);
      products = tileProducts<G>();
      coded = G::kCoded;
    });
    if (!can) {
      if (grouped) throw std::invalid_argument("a matrix of kind " + std::to_string(w.kind) + " cannot stand in groups");
      products = tileProducts<Grouped<0>>();  // unpacked
    }
    if (!grouped) coded = false, products = tileProducts<Grouped<0>>();
  }
  long groups() const { return (weight.rows + kGroup - 1) / kGroup; }
  bool whole(long g) const { return grouped && (g + 1) * kGroup <= weight.rows; }

  // Row n as floats.
  void values(long n, float* out) const {
    if (!whole(n / kGroup)) return unpack(weight, n, 0, weight.columns, out);
    withGrouped(weight.kind, [&](auto g, auto kind) {
      uint8_t* bytes = reinterpret_cast<uint8_t*>(scratch(1, row / 4 + 1));
      rowOfGroup<decltype(g)>(weight.data + n / kGroup * kGroup * row, n % kGroup, row, bytes);
      using K = decltype(kind);
      unpackRow<K>(Reader<K>(weight), bytes, 0, weight.columns, out);
    });
  }

  // Group g as `products` take it.
  const uint8_t* group(long g) const {
    const uint8_t* at = weight.data + g * kGroup * row;
    if (whole(g)) return at;
    const int count = std::min<long>(kGroup, weight.rows - g * kGroup);
    if (grouped) {
      uint8_t* made = reinterpret_cast<uint8_t*>(scratch(2, kGroup * row / 4 + 1));
      withGrouped(weight.kind, [&](auto k, auto) { makeGroup<decltype(k)>(at, row, count, made); });
      return made;
    }
    float* made = scratch(2, kGroup * weight.columns);
    unpacked(g, count, made);
    return reinterpret_cast<const uint8_t*>(made);
  }

 private:
  // Rows of a group as floats, 16 of a column side by side.
  void unpacked(long g, int count, float* out) const {
    constexpr long kColumnsAtOnce = 256;
    float rows[kGroup][kColumnsAtOnce];
    std::memset(rows, 0, sizeof rows);
    for (long k = 0; k < weight.columns; k += kColumnsAtOnce) {
      const long n = std::min(kColumnsAtOnce, weight.columns - k);
      for (int r = 0; r < count; r++) unpack(weight, g * kGroup + r, k, n, rows[r]);
      long j = 0;
      for (; j + 8 <= n; j += 8)
        for (int r = 0; r < kGroup; r += 8) transpose8(rows[r] + j, kColumnsAtOnce, out + (k + j) * kGroup + r, kGroup);
      for (; j < n; j++)
        for (int r = 0; r < kGroup; r++) out[(k + j) * kGroup + r] = rows[r][j];
    }
  }
};

}  // namespace tunebook
