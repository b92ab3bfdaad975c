// Matrix products, in fp32 or bf16 (P is an element type of element.h). The right-hand side is packed into panels over the whole
// inner dimension, so that one copy of a (possibly 4-bit) weight serves y = x W^T and dx = dy W alike: it is unpacked while a panel
// is made. Several products are summed in the same registers: y = x W^T + u B^T costs no second pass over y.
#pragma once
#include "packing.h"

namespace tunebook {

template <class P>
struct Product {
  static constexpr int kTurns = 4;  // steps of the inner dimension in one turn of a loop, at most
  Rows<P> left;
  const typename P::T* panel;

  // The right side as a tile of V vectors of columns goes through it.
  template <int V>
  struct Cursor {
    const typename P::T* at;
    explicit Cursor(const Product& product) : at(product.panel) {}
    typename P::V get(int turn, int v) const { return P::loadRight(at + (turn * V + v) * kLanes); }
    void advance(int turns) { at += turns * V * kLanes; }
  };
};

// A product whose right side is used too few times to be packed: [left.inner, ...] of T = float or Half, `row` from row to row.
template <class T>
struct UnpackedProduct {
  static constexpr int kTurns = 1;
  Rows<BF16> left;
  const T* right;
  long row;

  template <int V>
  struct Cursor {
    const T *first, *second = nullptr;
    const T* const end;
    const long row;
    T zeros[V * kLanes] = {};
    explicit Cursor(const UnpackedProduct& p) : first(p.right), end(p.right + p.left.inner * p.row), row(p.row) { next(); }
    BF16::V get(int, int v) const { return pairs(first + v * kLanes, second + v * kLanes); }
    void advance(int) {
      first += 2 * row;
      next();
    }
    void next() {
      second = first + row < end ? first + row : zeros;
      for (const long k : {16, 17}) askFor(first + k * row, V * kLanes * sizeof(T));
    }
  };
};

// What a tile's sums begin with and where they go. Others than a Target may take them while they are in registers.
// Here: element (i, j) at data[i * row + j * column], times alpha, added to what stands at the same place of `base` and to
// bias[j], where there are any; or as bf16 to `halves`.
struct Target {
  float* data;
  long row, column;
  float alpha = 1;
  const float* base = nullptr;
  const float* bias = nullptr;
  Half* halves = nullptr;

  static Target kept(float* to, long row) { return {to, row, 1}; }
  static Target kept(Half* to, long row) { return {nullptr, row, 1, 1, nullptr, nullptr, to}; }
  // The same from column n on.
  Target from(long n) const {
    const long at = n * column;
    return {data ? data + at : nullptr, row, column, alpha, base ? base + at : nullptr, bias ? bias + n : nullptr, halves ? halves + at : nullptr};
  }
  void put(long i, long j, float value) const {
    const long at = i * row + j * column;
    value += (base ? base[at] : 0) + (bias ? bias[j] : 0);
    if (halves) halves[at] = toBf16(value);
    else data[at] = value;
  }
  static Vec begin(int) { return Vec{}; }
  // Takes R rows and V vectors of columns from (i, n) on, of which `columns` are there.
  template <int R, int V>
  INLINE void put(Vec (&acc)[R][V], long i, long n, int columns) const {
    constexpr int width = V * kLanes;
    if (bias && columns == width)
      eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] = acc[r][v] * alpha + load(bias + n + v * kLanes); });
    else if (alpha != 1)
      eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] *= alpha; });
    if (column == 1 && columns == width) {
      const long start = i * row + n;
      const auto place = [&](auto r, auto v) INLINE { return start + r * row + v * kLanes; };
      if (base) eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] += load(base + place(r, v)); });
      if (halves) eachOf<R, V>([&](auto r, auto v) INLINE { store(halves + place(r, v), acc[r][v]); });
      else eachOf<R, V>([&](auto r, auto v) INLINE { store(data + place(r, v), acc[r][v]); });
      return;
    }
    alignas(64) float lines[R * width];
    eachOf<R, V>([&](auto r, auto v) INLINE { store(lines + r * width + v * kLanes, acc[r][v]); });
    putLines(lines, R, width, i, n, columns);
  }

 private:
  // `rows` lines, `width` floats apart; a full width has got its bias already. Out of line: in every tile it took most of the compiler's time.
  __attribute__((noinline)) void putLines(const float* lines, int rows, int width, long i, long n, int columns) const {
    Target rest = *this;
    if (columns == width) rest.bias = nullptr;
    int j = 0;
    if (!base && !rest.bias && !halves) {
      float* to = data + i * row + n * column;
      if (column == 1) {
        for (int r = 0; r < rows; r++) std::memcpy(to + r * row, lines + r * width, columns * sizeof(float));
        return;
      }
      if (row == 1 && rows == 8)
        for (; j + 8 <= columns; j += 8) transpose8(lines + j, width, to + j * column, column);
    }
    for (; j < columns; j++)
      for (int r = 0; r < rows; r++) rest.put(i + r, n + j, lines[r * width + j]);
  }
};

// How far a left side's values are apart, from row to row of a tile and from step to step: constants where they can be,
// which is worth 15 %.
template <class P>
struct Interleaved {
  static constexpr int kTurns = 4;
  static constexpr long row(const Rows<P>&) { return 1; }
  static constexpr long step(const Rows<P>&) { return P::kTile; }
};
template <class P>
struct ByRow {
  static constexpr int kTurns = kLanes == 8 && P::kPack == 1 ? 4 : 1;  // with more, addresses take the registers
  static long row(const Rows<P>& left) { return left.row; }
  static constexpr long step(const Rows<P>&) { return 1; }
};

// R rows and V vectors of columns. Loops over the registers of a tile are unrolled by the language, and so are some steps of the
// inner dimension: as loops they would keep the sums in memory (GCC 12).
template <class P, class Layout, int R, int V, class Product, class To>
inline void tile(const Product* products, int count, long i, const To& to, long n, int columns) {
  Vec acc[R][V];
  eachOf<R, V>([&](auto r, auto v) INLINE { acc[r][v] = to.begin(v); });
  for (int p = 0; p < count; p++) {
    const Rows<P>& left = products[p].left;
    const long steps = stepsOf<P>(left.inner), row = Layout::row(left), step = Layout::step(left);
    const typename P::T* a = left.at(i);
    typename Product::template Cursor<V> b(products[p]);
    const auto times = [&](auto turn) INLINE {
      typename P::V right[V];
      unrolled<V>([&](auto v) INLINE { right[v] = b.get(turn, v); });
      unrolled<R>([&](auto r) INLINE {
        typename P::V value = P::spread(a[turn * step + r * row]);
        pin(value);
        unrolled<V>([&](auto v) INLINE { P::multiplyAdd(acc[r][v], value, right[v]); });
      });
    };
    long k = 0;
    constexpr int turns = std::min(Layout::kTurns, Product::kTurns);
    for (; k + turns <= steps; k += turns, a += turns * step, b.advance(turns)) unrolled<turns>(times);
    for (; k < steps; k++, a += step, b.advance(1)) times(std::integral_constant<int, 0>{});
  }
  to.put(acc, i, n, columns);
}

// Rows [from, to) of one panel's columns; the left sides are all laid out alike.
template <class P, class Layout, int V, class Product, class To>
inline void panelRows(const Product* products, int count, long from, long to, const To& target, long n, int columns) {
  long i = from;
  const auto tiles = [&](auto rows) {
    for (; i + rows <= to; i += rows) tile<P, Layout, rows, V>(products, count, i, target, n, columns);
  };
  tiles(std::integral_constant<int, P::kTile>{});
  if constexpr (P::kTile > 4) tiles(std::integral_constant<int, 4>{});
  tiles(std::integral_constant<int, 2>{});
  tiles(std::integral_constant<int, 1>{});
}

// The same for panels of `width` columns.
template <class P, class Layout, class Product, class To = Target>
inline void panelRows(const Product* products, int count, long from, long to, const To& target, long n, int columns, int width) {
  unrolled<kVectors>([&](auto less) {
    if (width == (less + 1) * kLanes) panelRows<P, Layout, less + 1>(products, count, from, to, target, n, columns);
  });
}

// target[i, n] = alpha * (the sum of the products)[i, n] for one panel, on the calling thread.
template <class P, class To = Target>
inline void multiplyPanel(const Product<P>* products, int count, long rows, int columns, const To& target, int width = kColumns) {
  const Rows<P>& left = products[0].left;
  if (left.row == 1 && left.step == P::kTile) panelRows<P, Interleaved<P>>(products, count, 0, rows, target, 0, columns, width);
  else panelRows<P, ByRow<P>>(products, count, 0, rows, target, 0, columns, width);
}

// The same for all panels of one product, which lie `steps` apart.
template <class P>
inline void multiplyPacked(const Rows<P>& left, const typename P::T* panels, long steps, long rows, long columns, const Target& target,
                           int width = kColumns) {
  for (long n = 0; n < columns; n += width) {
    const Product<P> product{left, panels + n * steps};
    multiplyPanel<P>(&product, 1, rows, std::min<long>(width, columns - n), target.from(n), width);
  }
}

template <class P>
inline void multiplyPacked(const Rows<P>& left, const typename P::T* panels, long rows, long columns, const Target& target, int width = kColumns) {
  multiplyPacked<P>(left, panels, stepsOf<P>(left.inner), rows, columns, target, width);
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
  const int width = widthFor(columns);
  const long steps = starts[count], panels = (columns + width - 1) / width;
  // Several panels at a time while they fit the second-level cache, so that the left side is read less often; and as many
  // tasks for one thread as for another.
  const long threads = threadCount(), fit = std::max<long>(1, P::kFit / (std::max<long>(steps, 1) * width));
  const long rounds = std::max<long>((panels + fit * threads - 1) / (fit * threads), panels >= 4 * threads ? 2 : 1);
  const long group = std::max<long>(1, (panels + rounds * threads - 1) / (rounds * threads)), tasks = (panels + group - 1) / group;
  parallelFor(static_cast<int>(tasks), [&](int task, int) {
    const long first = task * group, last = std::min(panels, first + group);
    typename P::T* packed = elements<P>(0, static_cast<size_t>(group) * width * steps);
    for (long p = first; p < last; p++)
      for (int t = 0; t < count; t++)
        terms[t].right->pack(p * width, std::min<long>(width, columns - p * width), width, packed + ((p - first) * steps + starts[t]) * width);
    constexpr long block = P::kTile * 8;
    for (long i = 0; i < rows; i += block)
      for (long p = first; p < last; p++) {
        const long n = p * width;
        Product<P> products[kMaxTerms];
        for (int t = 0; t < count; t++) products[t] = {terms[t].left, packed + ((p - first) * steps + starts[t]) * width};
        panelRows<P, Interleaved<P>>(products, count, i, std::min(rows, i + block), target, n, std::min<long>(width, columns - n), width);
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

template <class P, class T>
inline void crossProduct(long rows, const T* left, long leftRow, long wide, const float* right, long narrow, const Target& target) {
  if constexpr (P::kPack > 1) {
    const Rows<P> turned = rowsOf<P>(Left{right, 1, narrow}, narrow, rows, 7);
    const Target to{target.data, target.column, target.row};
    const int width = widthFor(wide);
    if (wide % width == 0 && narrow <= 4 * P::kTile)
      return parallelFor(static_cast<int>(wide / width), [&](int task, int) {
        const long n = task * width;
        const UnpackedProduct<T> product{turned, left + n, leftRow};
        panelRows<P, Interleaved<P>>(&product, 1, 0, narrow, to, n, width, width);
      });
    const StridedRight values(left, rows, leftRow, 1);
    const Term<P> term{turned, &values};
    gemm<P>(narrow, wide, &term, 1, to);
  } else {
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
}

}  // namespace tunebook
