// Matrix products in fp32. The right-hand side is packed into panels of kColumns columns over the whole inner dimension, so
// that one copy of a (possibly 4-bit) weight serves y = x W^T and dx = dy W alike: it becomes fp32 while it is packed.
// Up to two products are summed in the same registers: y = x W^T + u B^T costs no second pass over y.
#pragma once
#include <algorithm>

#include "pool.h"
#include "weight.h"

namespace tunebook {

// Left-hand side: element (i, k) stands at data[i * row + k * column].
struct Left {
  const float* data;
  long row, column;
};

// Writes columns [n, n + count) of a right-hand side [inner, columns] to panel[inner][kColumns], zeros behind them.
struct Right {
  int inner = 0;
  virtual void pack(long n, int count, float* panel) const = 0;
  virtual ~Right() = default;
};

// B[k, n] = w[n, k]
struct TransposedRight : Right {
  Weight w;
  explicit TransposedRight(const Weight& weight) : w(weight) { inner = weight.columns; }
  void pack(long n, int count, float* panel) const override {
    constexpr int run = 64;
    float rows[8 * run];
    for (int j = 0; j < kColumns; j += 8)
      for (int k = 0; k < inner; k += run) {
        const int length = std::min(run, inner - k);
        for (int i = 0; i < 8; i++)
          if (j + i < count) unpack(w, n + j + i, k, length, rows + i * run);
          else std::memset(rows + i * run, 0, length * 4);
        int l = 0;
        for (; l + 8 <= length; l += 8) transpose8(rows + l, run, panel + static_cast<long>(k + l) * kColumns + j, kColumns);
        for (; l < length; l++)
          for (int i = 0; i < 8; i++) panel[static_cast<long>(k + l) * kColumns + j + i] = rows[i * run + l];
      }
  }
};

// B[k, n] = w[k, n]
struct PlainRight : Right {
  Weight w;
  explicit PlainRight(const Weight& weight) : w(weight) { inner = weight.rows; }
  void pack(long n, int count, float* panel) const override {
    for (int k = 0; k < inner; k++) {
      float* to = panel + static_cast<long>(k) * kColumns;
      unpack(w, k, n, count, to);
      for (int j = count; j < kColumns; j++) to[j] = 0;
    }
  }
};

// B[k, n] = data[k * row + n * column]
struct StridedRight : Right {
  const float* data;
  long row, column;
  StridedRight(const float* d, int innerSize, long r, long c) : data(d), row(r), column(c) { inner = innerSize; }
  void pack(long n, int count, float* panel) const override {
    const float* from = data + n * column;
    if (column == 1) {
      for (int k = 0; k < inner; k++) {
        float* to = panel + static_cast<long>(k) * kColumns;
        std::memcpy(to, from + k * row, count * 4);
        for (int j = count; j < kColumns; j++) to[j] = 0;
      }
      return;
    }
    int k = 0;
    if (row == 1 && count == kColumns)
      for (; k + 8 <= inner; k += 8)
        for (int j = 0; j < kColumns; j += 8) transpose8(from + k + j * column, column, panel + static_cast<long>(k) * kColumns + j, kColumns);
    for (; k < inner; k++)
      for (int j = 0; j < kColumns; j++) panel[static_cast<long>(k) * kColumns + j] = j < count ? from[k * row + j * column] : 0;
  }
};

struct Product {
  Left left;
  const float* panel;  // [inner][kColumns]
  int inner;
};

// Where a tile goes: element (i, j) at data[i * row + j * column], times alpha, added to what stands there or not.
struct Target {
  float* data;
  long row, column;
  float alpha = 1;
  bool add = false;
};

template <int Rows>
inline __attribute__((always_inline)) void multiply(const Product& p, long i, Vec (&acc)[Rows][kVectors]) {
  const float* a = p.left.data + i * p.left.row;
  const long row = p.left.row, column = p.left.column;
  const float* b = p.panel;
  for (int k = 0; k < p.inner; k++, a += column, b += kColumns) {
    Vec right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) right[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; r++) {
      const Vec left = splat(a[r * row]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) acc[r][v] += left * right[v];
    }
  }
}

template <int Rows>
inline void tile(const Product* products, int count, long i, const Target& to, long n, int columns) {
  Vec acc[Rows][kVectors] = {};
  for (int p = 0; p < count; p++) multiply<Rows>(products[p], i, acc);
  for (int r = 0; r < Rows; r++) {
    float* out = to.data + (i + r) * to.row + n * to.column;
    if (to.column == 1 && columns == kColumns) {
      for (int v = 0; v < kVectors; v++) {
        const Vec value = acc[r][v] * to.alpha;
        store(out + v * kLanes, to.add ? load(out + v * kLanes) + value : value);
      }
    } else {
      float line[kColumns];
      for (int v = 0; v < kVectors; v++) store(line + v * kLanes, acc[r][v]);
      for (int j = 0; j < columns; j++) {
        float& at = out[j * to.column];
        at = (to.add ? at : 0) + line[j] * to.alpha;
      }
    }
  }
}

// Rows [from, to) of one panel's columns.
inline void panelRows(const Product* products, int count, long from, long to, const Target& target, long n, int columns) {
  long i = from;
  for (; i + kRows <= to; i += kRows) tile<kRows>(products, count, i, target, n, columns);
  switch (to - i) {
    case 7: tile<7>(products, count, i, target, n, columns); break;
    case 6: tile<6>(products, count, i, target, n, columns); break;
    case 5: tile<5>(products, count, i, target, n, columns); break;
    case 4: tile<4>(products, count, i, target, n, columns); break;
    case 3: tile<3>(products, count, i, target, n, columns); break;
    case 2: tile<2>(products, count, i, target, n, columns); break;
    case 1: tile<1>(products, count, i, target, n, columns); break;
    default: break;
  }
}

inline size_t panelFloats(int inner, long columns) {
  return static_cast<size_t>((columns + kColumns - 1) / kColumns) * kColumns * inner;
}

// All panels of a right-hand side, one after another: for callers that use them many times.
inline void packAll(const Right& right, long columns, float* panels) {
  for (long n = 0; n < columns; n += kColumns)
    right.pack(n, std::min<long>(kColumns, columns - n), panels + n * right.inner);
}

// target[i, n] (+)= alpha * sum over products of left[i, :] . panels[:, n]; on the calling thread.
inline void multiplyPacked(const Left& left, int inner, const float* panels, long rows, long columns, const Target& target) {
  for (long n = 0; n < columns; n += kColumns) {
    const Product product{left, panels + n * inner, inner};
    panelRows(&product, 1, 0, rows, target, n, std::min<long>(kColumns, columns - n));
  }
}

// target = left1 right1 (+ left2 right2), rows x columns, on all threads. Each element is summed by one thread in one order.
inline void gemm(long rows, long columns, const Left& left1, const Right& right1, const Left* left2, const Right* right2,
                 const Target& target) {
  const int inner = right1.inner + (right2 ? right2->inner : 0);
  const long panels = (columns + kColumns - 1) / kColumns;
  // Several panels at a time while they fit the second-level cache, so that the left side is read less often.
  long group = std::max<long>(1, 65536 / (static_cast<long>(std::max(inner, 1)) * kColumns));
  group = std::max<long>(1, std::min(group, panels / (2 * threadCount())));
  const long tasks = (panels + group - 1) / group;
  parallelFor(static_cast<int>(tasks), [&](int task, int) {
    const long first = task * group, last = std::min(panels, first + group);
    float* packed = scratch(0, static_cast<size_t>(group) * kColumns * inner);
    for (long p = first; p < last; p++) {
      const long n = p * kColumns;
      float* to = packed + (p - first) * kColumns * inner;
      const int count = std::min<long>(kColumns, columns - n);
      right1.pack(n, count, to);
      if (right2) right2->pack(n, count, to + static_cast<long>(right1.inner) * kColumns);
    }
    constexpr long block = kRows * 8;
    for (long i = 0; i < rows; i += block)
      for (long p = first; p < last; p++) {
        const long n = p * kColumns;
        const float* panel = packed + (p - first) * kColumns * inner;
        Product products[2] = {{left1, panel, right1.inner}, {}};
        if (right2) products[1] = {*left2, panel + static_cast<long>(right1.inner) * kColumns, right2->inner};
        panelRows(products, right2 ? 2 : 1, i, std::min(rows, i + block), target, n, std::min<long>(kColumns, columns - n));
      }
  });
}

inline void gemm(long rows, long columns, const Left& left, const Right& right, const Target& target) {
  gemm(rows, columns, left, right, nullptr, nullptr, target);
}

inline Weight dense(const float* data, long rows, long columns) {
  return {reinterpret_cast<const uint8_t*>(data), Kind::kF32, rows, columns};
}

}  // namespace tunebook
