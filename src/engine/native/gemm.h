// Matrix products, in fp32 or bf16 (P is an element type of element.h). The right-hand side is packed into panels of kColumns
// columns over the whole inner dimension, so that one copy of a (possibly 4-bit) weight serves y = x W^T and dx = dy W alike:
// it is unpacked while a panel is made. Up to two products are summed in the same registers: y = x W^T + u B^T costs no
// second pass over y.
#pragma once
#include <algorithm>

#include "element.h"
#include "pool.h"
#include "weight.h"

namespace tunebook {

template <class P>
constexpr long stepsOf(long inner) { return (inner + P::kPack - 1) / P::kPack; }

// Right-hand side [inner, columns]: writes rows [k, k + length) of columns [n, n + count) to to[length][kColumns], zeros
// behind them.
struct Right {
  int inner = 0;
  virtual void unpackPanel(int k, int length, long n, int count, float* to) const = 0;
  virtual ~Right() = default;
};

// B[k, n] = w[n, k]
struct TransposedRight : Right {
  Weight w;
  explicit TransposedRight(const Weight& weight) : w(weight) { inner = weight.columns; }
  void unpackPanel(int k, int length, long n, int count, float* to) const override {
    constexpr int run = 64;
    float rows[8 * run];
    for (int j = 0; j < kColumns; j += 8)
      for (int done = 0; done < length; done += run) {
        const int part = std::min(run, length - done);
        const int present = std::clamp(count - j, 0, 8);
        unpackRows(w, n + j, present, k + done, part, rows, run);
        std::fill(rows + present * run, rows + 8 * run, 0.0f);
        float* at = to + static_cast<long>(done) * kColumns + j;
        int l = 0;
        for (; l + 8 <= part; l += 8) transpose8(rows + l, run, at + static_cast<long>(l) * kColumns, kColumns);
        for (; l < part; l++)
          for (int i = 0; i < 8; i++) at[static_cast<long>(l) * kColumns + i] = rows[i * run + l];
      }
  }
};

// B[k, n] = w[k, n]
struct PlainRight : Right {
  Weight w;
  explicit PlainRight(const Weight& weight) : w(weight) { inner = weight.rows; }
  void unpackPanel(int k, int length, long n, int count, float* to) const override {
    unpackRows(w, k, length, n, count, to, kColumns);
    if (count < kColumns)
      for (int i = 0; i < length; i++) std::fill(to + i * kColumns + count, to + (i + 1) * kColumns, 0.0f);
  }
};

// B[k, n] = data[k * row + n * column]
struct StridedRight : Right {
  const float* data;
  long row, column;
  StridedRight(const float* d, int innerSize, long r, long c) : data(d), row(r), column(c) { inner = innerSize; }
  void unpackPanel(int k, int length, long n, int count, float* to) const override {
    const float* from = data + k * row + n * column;
    int i = 0;
    if (column == 1) {
      for (; i < length; i++, to += kColumns) {
        std::memcpy(to, from + i * row, count * 4);
        for (int j = count; j < kColumns; j++) to[j] = 0;
      }
      return;
    }
    if (row == 1 && count == kColumns)
      for (; i + 8 <= length; i += 8)
        for (int j = 0; j < kColumns; j += 8) transpose8(from + i + j * column, column, to + static_cast<long>(i) * kColumns + j, kColumns);
    for (; i < length; i++)
      for (int j = 0; j < kColumns; j++) to[static_cast<long>(i) * kColumns + j] = j < count ? from[i * row + j * column] : 0;
  }
};

inline Weight dense(const float* data, long rows, long columns) {
  return {reinterpret_cast<const uint8_t*>(data), Kind::kF32, rows, columns};
}

// One panel of a right-hand side: [stepsOf(inner)][kColumns].
inline void pack(const Right& right, long n, int count, float* panel) { right.unpackPanel(0, right.inner, n, count, panel); }

inline void pack(const Right& right, long n, int count, uint32_t* panel) {
  constexpr int run = 32;
  float part[run * kColumns];
  for (int k = 0; k < right.inner; k += run) {
    const int length = std::min(run, right.inner - k);
    right.unpackPanel(k, length, n, count, part);
    if (length % 2) std::memset(part + length * kColumns, 0, kColumns * 4);
    for (int i = 0; i < length; i += 2, panel += kColumns)
      for (int j = 0; j < kColumns; j += kLanes) {
        const float* at = part + i * kColumns + j;
        const VecBits first = roundToBf16(load(at)) >> 16, second = roundToBf16(load(at + kColumns)) & 0xffff0000u;
        *reinterpret_cast<UnalignedBits*>(panel + j) = first | second;
      }
  }
}

// All panels of a right-hand side, one after another: for callers that use them many times.
template <class T>
inline void packAll(const Right& right, long columns, T* panels, long steps) {
  for (long n = 0; n < columns; n += kColumns) pack(right, n, std::min<long>(kColumns, columns - n), panels + n * steps);
}

template <class P>
inline void packAll(const Right& right, long columns, typename P::T* panels) {
  packAll(right, columns, panels, stepsOf<P>(right.inner));
}

template <class P>
inline size_t panelSize(int inner, long columns) {
  return static_cast<size_t>((columns + kColumns - 1) / kColumns) * kColumns * stepsOf<P>(inner);
}

template <class P>
inline typename P::T* elements(int slot, size_t count) { return reinterpret_cast<typename P::T*>(scratch(slot, count)); }

// Left-hand side in fp32: value (i, k) stands at data[i * row + k * column].
struct Left {
  const float* data;
  long row, column;
};

// Left-hand side as the product reads it: step k of row r of tile t stands at data[t * tile + k * step + r * row].
template <class P>
struct Rows {
  const typename P::T* data;
  long tile, step, row;
  int inner;
  Rows from(long i) const { return {data + i / P::kTile * tile, tile, step, row, inner}; }  // i: a multiple of kTile
};

// to[k * kTile + r] = from[r * row + k] for count <= kTile rows.
template <int kTile>
inline void interleave(const float* from, long row, int count, long steps, float* to) {
  long k = 0;
  // The transposed columns overlap where kTile < 8, and the last would write past the tile.
  if (count == kTile)
    for (; k + 8 < steps; k += 8) transpose8<kTile>(from + k, row, to + k * kTile, kTile);
  for (; k < steps; k++)
    for (int r = 0; r < count; r++) to[k * kTile + r] = from[r * row + k];
}

// `count` rows of a left-hand side from row i on, as one tile.
inline void packTile(const Left& left, int inner, long i, int count, float* to) {
  const float* from = left.data + i * left.row;
  if (left.column == 1) return interleave<F32::kTile>(from, left.row, count, inner, to);
  for (int k = 0; k < inner; k++)
    for (int r = 0; r < count; r++) to[k * F32::kTile + r] = from[r * left.row + k * left.column];
}

inline void packTile(const Left& left, int inner, long i, int count, uint32_t* to) {
  constexpr int kTile = BF16::kTile, run = 128;
  const float* from = left.data + i * left.row;
  float pairs[kTile * run / 2];
  for (int k = 0; k < inner; k += run) {
    const int length = std::min(run, inner - k);
    for (int r = 0; r < count; r++) {
      Half* halves = reinterpret_cast<Half*>(pairs + r * run / 2);
      const float* values = from + r * left.row + k * left.column;
      if (left.column == 1) toBf16(values, halves, length);
      else
        for (int l = 0; l < length; l++) halves[l] = toBf16(values[l * left.column]);
      if (length % 2) halves[length] = 0;
    }
    interleave<kTile>(pairs, run / 2, count, stepsOf<BF16>(length), reinterpret_cast<float*>(to + k / 2 * kTile));
  }
}

// Tiles [first, last) of a left-hand side whose columns are contiguous (a transposed matrix): a line of cache is used by all tiles
// that share it.
inline void packColumns(const Left& left, int inner, long rows, long first, long last, float* to) {
  constexpr int kTile = F32::kTile, group = 16;
  for (long t = first; t < last; t += group)
    for (int k = 0; k < inner; k++) {
      const float* from = left.data + k * left.column;
      for (long u = t; u < std::min(last, t + group); u++) {
        const long count = std::min<long>(kTile, rows - u * kTile);
        float* at = to + (u * inner + k) * kTile;
        for (int r = 0; r < kTile; r++) at[r] = r < count ? from[u * kTile + r] : 0;
      }
    }
}

// Makes a left-hand side ready in the given scratch slot, [tiles][stepsOf(inner)][kTile], on all threads or on the calling
// one: a single stream, where rows in their own order are kTile streams, whose distance may be the one at which the
// first-level cache collides.
template <class P>
inline Rows<P> rowsOf(const Left& left, long rows, int inner, int slot, bool parallel = true) {
  const long steps = stepsOf<P>(inner), tiles = (rows + P::kTile - 1) / P::kTile;
  typename P::T* packed = elements<P>(slot, tiles * P::kTile * steps);
  const auto pack = [&](long from, long to) {
    if constexpr (P::kPack == 1)
      if (left.row == 1 && left.column != 1) return packColumns(left, inner, rows, from, to, packed);
    for (long t = from; t < to; t++)
      packTile(left, inner, t * P::kTile, std::min<long>(P::kTile, rows - t * P::kTile), packed + t * P::kTile * steps);
  };
  if (parallel) {
    const long block = std::max<long>(1, 32768 / (std::max(inner, 1) * P::kTile));
    parallelFor(static_cast<int>((tiles + block - 1) / block), [&](int task, int) { pack(task * block, std::min(tiles, (task + 1) * block)); });
  } else {
    pack(0, tiles);
  }
  return {packed, P::kTile * steps, P::kTile, 1, inner};
}

// The same for values whose distances are known to suit the cache (see strideFor): fp32 is read where it stands.
template <class P>
inline Rows<P> rowsAt(const Left& left, long rows, int inner, int slot) {
  if constexpr (P::kPack == 1) return {left.data, P::kTile * left.row, left.column, left.row, inner};
  else return rowsOf<P>(left, rows, inner, slot, false);
}

// A distance between rows of at least `width` floats at which neither a tile's rows nor a column's values collide in a cache.
inline long strideFor(long width) { return (width + 31) / 32 * 32 + 16; }

template <class P>
struct Product {
  Rows<P> left;
  const typename P::T* panel;
};

// Where a tile goes: element (i, j) at data[i * row + j * column], times alpha, added to what stands there or not.
struct Target {
  float* data;
  long row, column;
  float alpha = 1;
  bool add = false;
};

// How far a left side's values are apart, from row to row of a tile and from step to step: constants where they can be,
// which is worth 15 %.
template <class P>
struct Interleaved {
  static constexpr long row(const Rows<P>&) { return 1; }
  static constexpr long step(const Rows<P>&) { return P::kTile; }
};
template <class P>
struct ByRow {
  static long row(const Rows<P>& left) { return left.row; }
  static constexpr long step(const Rows<P>&) { return 1; }
};
template <class P>
struct ByColumn {
  static constexpr long row(const Rows<P>&) { return 1; }
  static long step(const Rows<P>& left) { return left.step; }
};

// Loops over the registers of a tile are unrolled by the language, and so are some steps of the inner dimension: as loops they
// would keep the sums in memory (GCC 12).
template <class P, class Layout, int R>
inline void tile(const Product<P>* products, int count, long i, const Target& to, long n, int columns) {
  Vec acc[R][kVectors];
  const auto each = [&](auto f) INLINE { unrolled<R>([&](auto r) INLINE { unrolled<kVectors>([&](auto v) INLINE { f(r, v); }); }); };
  each([&](auto r, auto v) INLINE { acc[r][v] = Vec{}; });
  for (int p = 0; p < count; p++) {
    const Rows<P>& left = products[p].left;
    const long steps = stepsOf<P>(left.inner), row = Layout::row(left), step = Layout::step(left);
    const typename P::T* a = left.from(i).data;
    const typename P::T* b = products[p].panel;
    const auto times = [&](auto turn) INLINE {
      typename P::V right[kVectors];
      unrolled<kVectors>([&](auto v) INLINE { right[v] = P::loadRight(b + turn * kColumns + v * kLanes); });
      unrolled<R>([&](auto r) INLINE {
        typename P::V value = P::spread(a[turn * step + r * row]);
        pin(value);
        unrolled<kVectors>([&](auto v) INLINE { P::multiplyAdd(acc[r][v], value, right[v]); });
      });
    };
    long k = 0;
    for (; k + P::kTurns <= steps; k += P::kTurns, a += P::kTurns * step, b += P::kTurns * kColumns) unrolled<P::kTurns>(times);
    for (; k < steps; k++, a += step, b += kColumns) times(std::integral_constant<int, 0>{});
  }
  float* out = to.data + i * to.row + n * to.column;
  if (to.column == 1 && columns == kColumns) {
    each([&](auto r, auto v) INLINE {
      float* at = out + r * to.row + v * kLanes;
      const Vec value = acc[r][v] * to.alpha;
      store(at, to.add ? load(at) + value : value);
    });
  } else {
    float lines[R * kColumns];
    each([&](auto r, auto v) INLINE { store(lines + r * kColumns + v * kLanes, acc[r][v]); });
    for (int r = 0; r < R; r++)
      for (int j = 0; j < columns; j++) {
        float& at = out[r * to.row + j * to.column];
        at = (to.add ? at : 0) + lines[r * kColumns + j] * to.alpha;
      }
  }
}

// Rows [from, to) of one panel's columns; the left sides are all laid out alike.
template <class P, class Layout>
inline void panelRows(const Product<P>* products, int count, long from, long to, const Target& target, long n, int columns) {
  long i = from;
  for (; i + P::kTile <= to; i += P::kTile) tile<P, Layout, P::kTile>(products, count, i, target, n, columns);
  unrolled<P::kTile - 1>([&](auto less) {
    if (to - i == less + 1) tile<P, Layout, less + 1>(products, count, i, target, n, columns);
  });
}

template <class P>
inline void panelRows(const Product<P>& product, long from, long to, const Target& target, long n, int columns) {
  const Rows<P>& left = product.left;
  if (P::kPack > 1 || (left.row == 1 && left.step == P::kTile)) panelRows<P, Interleaved<P>>(&product, 1, from, to, target, n, columns);
  else if (left.row == 1) panelRows<P, ByColumn<P>>(&product, 1, from, to, target, n, columns);
  else panelRows<P, ByRow<P>>(&product, 1, from, to, target, n, columns);
}

// target[i, n] (+)= alpha * left[i, :] . panels[:, n], with panels that lie `steps` apart; on the calling thread.
template <class P>
inline void multiplyPacked(const Rows<P>& left, const typename P::T* panels, long steps, long rows, long columns, const Target& target) {
  for (long n = 0; n < columns; n += kColumns) {
    const Product<P> product{left, panels + n * steps};
    panelRows<P>(product, 0, rows, target, n, std::min<long>(kColumns, columns - n));
  }
}

template <class P>
inline void multiplyPacked(const Rows<P>& left, const typename P::T* panels, long rows, long columns, const Target& target) {
  multiplyPacked<P>(left, panels, stepsOf<P>(left.inner), rows, columns, target);
}

// The same where one side is a triangle: columns from n on need rows from firstRow(n) on, and rows from i on only the steps
// [first, last) that stepsOfRows(i) gives, in values of the inner dimension. What is left out is not written.
template <class P, class FirstRow, class StepsOfRows>
inline void multiplyTriangle(const Rows<P>& left, const typename P::T* panels, long steps, long rows, long columns, const Target& target,
                             const FirstRow& firstRow, const StepsOfRows& stepsOfRows) {
  for (long n = 0; n < columns; n += kColumns)
    for (long i = firstRow(n) / P::kTile * P::kTile; i < rows; i += P::kTile) {
      const auto [from, to] = stepsOfRows(i);
      const long first = from / P::kPack;
      const Rows<P> part{left.data + first * left.step, left.tile, left.step, left.row, static_cast<int>(to - first * P::kPack)};
      const Product<P> product{part, panels + n * steps + first * kColumns};
      panelRows<P>(product, i, std::min<long>(rows, i + P::kTile), target, n, std::min<long>(kColumns, columns - n));
    }
}

template <class P>
struct Term {
  Rows<P> left;
  const Right* right;
};

constexpr int kMaxTerms = 6;

// target = the sum of all terms' left right, rows x columns, on all threads. Each element is summed by one thread in one order.
template <class P>
inline void gemm(long rows, long columns, const Term<P>* terms, int count, const Target& target) {
  long starts[kMaxTerms + 1] = {0};  // of each term's panel within a column's
  for (int t = 0; t < count; t++) starts[t + 1] = starts[t] + stepsOf<P>(terms[t].right->inner);
  const long steps = starts[count], panels = (columns + kColumns - 1) / kColumns;
  // Several panels at a time while they fit the second-level cache, so that the left side is read less often; and as many
  // tasks for one thread as for another.
  const long threads = threadCount(), fit = std::max<long>(1, 32768 / (std::max<long>(steps, 1) * kColumns));
  const long rounds = std::max<long>((panels + fit * threads - 1) / (fit * threads), panels >= 4 * threads ? 2 : 1);
  const long group = std::max<long>(1, (panels + rounds * threads - 1) / (rounds * threads)), tasks = (panels + group - 1) / group;
  parallelFor(static_cast<int>(tasks), [&](int task, int) {
    const long first = task * group, last = std::min(panels, first + group);
    typename P::T* packed = elements<P>(0, static_cast<size_t>(group) * kColumns * steps);
    for (long p = first; p < last; p++)
      for (int t = 0; t < count; t++)
        pack(*terms[t].right, p * kColumns, std::min<long>(kColumns, columns - p * kColumns),
             packed + ((p - first) * steps + starts[t]) * kColumns);
    constexpr long block = P::kTile * 8;
    for (long i = 0; i < rows; i += block)
      for (long p = first; p < last; p++) {
        const long n = p * kColumns;
        Product<P> products[kMaxTerms];
        for (int t = 0; t < count; t++) products[t] = {terms[t].left, packed + ((p - first) * steps + starts[t]) * kColumns};
        panelRows<P, Interleaved<P>>(products, count, i, std::min(rows, i + block), target, n, std::min<long>(kColumns, columns - n));
      }
  });
}

// target = left^T right, with left [rows, wide] (leftRow floats from row to row) and right [rows, narrow], for few columns on the
// right (a low-rank pair's gradient): kRows rows of the right side stay in registers while the left side's values pass by.
template <int kWide>
void crossTile(const float* left, long leftRow, int rows, const Vec (&right)[kRows][kWide], long from, long to, float* sums) {
  for (long k = from; k < to; k++, sums += kWide * kLanes) {
    Vec acc[kWide];
    unrolled<kWide>([&](auto v) INLINE { acc[v] = load(sums + v * kLanes); });
    if (rows == kRows)
      unrolled<kRows>([&](auto r) INLINE {
        const Vec x = splat(left[r * leftRow + k]);
        unrolled<kWide>([&](auto v) INLINE { acc[v] += x * right[r][v]; });
      });
    else
      for (int r = 0; r < rows; r++) {
        const Vec x = splat(left[r * leftRow + k]);
        unrolled<kWide>([&](auto v) INLINE { acc[v] += x * right[r][v]; });
      }
    unrolled<kWide>([&](auto v) INLINE { store(sums + v * kLanes, acc[v]); });
  }
}

template <int kWide>
void crossPart(long rows, const float* left, long leftRow, long wide, const float* right, long narrow, long column, const Target& target) {
  constexpr long chunk = 128;
  constexpr int lanes = kWide * kLanes;
  const int count = std::min<long>(lanes, narrow - column);
  parallelFor(static_cast<int>((wide + chunk - 1) / chunk), [&](int task, int) {
    const long from = task * chunk, to = std::min(wide, from + chunk);
    alignas(64) float sums[chunk * lanes] = {};
    for (long i = 0; i < rows; i += kRows) {
      const int part = std::min<long>(kRows, rows - i);
      Vec values[kRows][kWide] = {};
      for (int r = 0; r < part; r++) {
        float line[lanes] = {};
        std::memcpy(line, right + (i + r) * narrow + column, count * 4);
        for (int v = 0; v < kWide; v++) values[r][v] = load(line + v * kLanes);
      }
      crossTile<kWide>(left + i * leftRow, leftRow, part, values, from, to, sums);
    }
    for (long k = from; k < to; k++)
      for (int c = 0; c < count; c++) target.data[k * target.row + (column + c) * target.column] = sums[(k - from) * lanes + c];
  });
}

inline void crossProduct(long rows, const float* left, long leftRow, long wide, const float* right, long narrow, const Target& target) {
  for (long column = 0; column < narrow;) {
    if (narrow - column <= kLanes) {
      crossPart<1>(rows, left, leftRow, wide, right, narrow, column, target);
      column += kLanes;
    } else {
      crossPart<2>(rows, left, leftRow, wide, right, narrow, column, target);
      column += 2 * kLanes;
    }
  }
}

}  // namespace tunebook
