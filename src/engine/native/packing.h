// The two sides of a matrix product in the order in which the product reads them, as fp32 or as pairs of bf16 (P is an element
// type of element.h). Right sides become panels of a few vectors' columns over the whole inner dimension; left sides tiles of kTile rows.
#pragma once
#include <algorithm>
#include <type_traits>

#include "element.h"
#include "pool.h"
#include "weight.h"

namespace tunebook {

template <class P>
constexpr long stepsOf(long inner) { return (inner + P::kPack - 1) / P::kPack; }

template <class P>
inline typename P::T* elements(int slot, size_t count) { return reinterpret_cast<typename P::T*>(scratch(slot, count)); }

// Moves 8 rows of `steps` elements, `row` apart, to 8 columns of to, whose rows are `width` apart. Elements are only moved.
inline void transposeRows(const float* from, long row, long steps, float* to, long width) {
  long l = 0;
  for (; l + 8 <= steps; l += 8) transpose8(from + l, row, to + l * width, width);
  for (; l < steps; l++)
    for (int i = 0; i < 8; i++) to[l * width + i] = from[i * row + l];
}

// Right-hand side [inner, columns]. A panel of columns [n, n + count) is [stepsOf(inner)][width], zeros behind the columns.
struct Right {
  int inner = 0;
  virtual void pack(long n, int count, int width, float* panel) const = 0;
  virtual void pack(long n, int count, int width, uint32_t* panel) const = 0;
  virtual ~Right() = default;
};

constexpr int kRun = 64;

// Panels (of a multiple of 8 columns) whose columns are rows in memory: line(j, k, length, part) is where values [k, k + length) of column j stand (fp32 or, for panels
// of bf16, bf16), in `part` if they have to be made.
template <class Line>
inline void packAcross(int inner, int count, int width, float* panel, const Line& line) {
  alignas(64) float part[8 * kRun];
  for (int j = 0; j < width; j += 8) {
    const int present = std::clamp(count - j, 0, 8);
    std::fill(part + present * kRun, part + 8 * kRun, 0.0f);
    for (int k = 0; k < inner; k += kRun) {
      const int length = std::min(kRun, inner - k);
      for (int i = 0; i < present; i++) {
        float* to = part + i * kRun;
        const float* from = line(j + i, k, length, to);
        if (from != to) std::memcpy(to, from, length * 4);
      }
      transposeRows(part, kRun, length, panel + static_cast<long>(k) * width + j, width);
    }
  }
}

template <class Line>
inline void packAcross(int inner, int count, int width, uint32_t* panel, const Line& line) {
  constexpr int row = kRun / 2;
  alignas(64) float halves[8 * row], part[kRun];
  for (int j = 0; j < width; j += 8) {
    const int present = std::clamp(count - j, 0, 8);
    std::fill(halves + present * row, halves + 8 * row, 0.0f);
    for (int k = 0; k < inner; k += kRun) {
      const int length = std::min(kRun, inner - k);
      for (int i = 0; i < present; i++) {
        Half* to = reinterpret_cast<Half*>(halves + i * row);
        convert(line(j + i, k, length, part), to, length);
        if (length % 2) to[length] = 0;
      }
      transposeRows(halves, row, (length + 1) / 2, reinterpret_cast<float*>(panel + static_cast<long>(k / 2) * width + j), width);
    }
  }
}

// Panels whose rows are rows in memory: line(k, part) is where the `count` columns of row k stand, in `part` if they have to be made.
template <class T, class Line>
inline void packAlong(int inner, int count, int width, float* panel, const Line& line) {
  static_assert(sizeof(T) == 4);
  for (int k = 0; k < inner; k++, panel += width) {
    const float* from = line(k, panel);
    if (from != panel) std::memcpy(panel, from, count * 4);
    std::fill(panel + count, panel + width, 0.0f);
  }
}

template <class T, class Line>
inline void packAlong(int inner, int count, int width, uint32_t* panel, const Line& line) {
  constexpr int run = 32;
  alignas(64) T parts[run][kColumns] = {};
  const T* lines[run];
  for (int k = 0; k < inner; k += run) {
    const int length = std::min(run, inner - k);
    for (int i = 0; i < length; i++) {
      lines[i] = line(k + i, parts[i]);
      if (count == width || lines[i] == parts[i]) continue;
      std::memcpy(parts[i], lines[i], count * sizeof(T));
      lines[i] = parts[i];
    }
    if (length % 2) {
      std::fill(parts[length], parts[length] + kColumns, T{});
      lines[length] = parts[length];
    }
    for (int i = 0; i < length; i += 2, panel += width)
      for (int j = 0; j < width; j += kLanes) store(panel + j, pairs(lines[i] + j, lines[i + 1] + j));
  }
}

// Values [from, from + count) of a row of w: where they stand, or in `part`.
template <class K>
inline const float* lineOf(const Weight& w, const ReaderOf<K>& reader, long row, size_t bytes, long from, int count, float* part) {
  const uint8_t* at = w.data + row * bytes;
  if constexpr (std::is_same_v<K, Kind<kPlain>>)
    if (!w.scaled()) return reinterpret_cast<const float*>(at) + from;
  unpackRow<K>(reader, at, from, count, part);
  if (w.scaled()) w.scale(row, from, count, part);
  return part;
}

// B[k, n] = w[n, k]
struct TransposedRight : Right {
  Weight w;
  explicit TransposedRight(const Weight& weight) : w(weight) { inner = weight.columns; }
  void pack(long n, int count, int width, float* panel) const override { packAny(n, count, width, panel); }
  void pack(long n, int count, int width, uint32_t* panel) const override { packAny(n, count, width, panel); }

 private:
  template <class T>
  void packAny(long n, int count, int width, T* panel) const {
    withKind(w.kind, [&](auto kind) {
      using K = decltype(kind);
      const size_t bytes = rowBytesOf<K>(w.columns);
      const ReaderOf<K> reader(w);
      packAcross(inner, count, width, panel, [&](int j, int k, int length, float* part) { return lineOf<K>(w, reader, n + j, bytes, k, length, part); });
    });
  }
};

// Has memory brought near that is needed soon and lies too far from what is read now for the hardware to foresee.
inline void askFor(const void* from, long bytes) {
  for (long at = 0; at < bytes + 63; at += 64) __builtin_prefetch(static_cast<const char*>(from) + at);
}

// B[k, n] = w[k, n]
struct PlainRight : Right {
  Weight w;
  explicit PlainRight(const Weight& weight) : w(weight) { inner = weight.rows; }
  void pack(long n, int count, int width, float* panel) const override { packAny(n, count, width, panel); }
  void pack(long n, int count, int width, uint32_t* panel) const override { packAny(n, count, width, panel); }

 private:
  // Asks for columns [n, n + count) of a row that comes soon.
  struct Ahead {
    const uint8_t* data;
    const long row, length;
    Ahead(const Weight& w, long bytes, long n, int count) : data(w.data + n * bytes / w.columns + 24 * bytes), row(bytes), length(count * bytes / w.columns) {}
    void operator()(long k) const { askFor(data + k * row, length); }
  };
  template <class T>
  void packAny(long n, int count, int width, T* panel) const {
    withKind(w.kind, [&](auto kind) {
      using K = decltype(kind);
      const size_t bytes = rowBytesOf<K>(w.columns);
      const Ahead ahead(w, bytes, n, count);
      if constexpr (kHasBf16 && !std::is_same_v<T, float> && K::kBlock > 1)
        if (n % kLanes == 0 && count == width) return w.scaled() ? packVectors<K, true>(n, width, ahead, panel) : packVectors<K, false>(n, width, ahead, panel);
      const ReaderOf<K> reader(w);
      packAlong<float>(inner, count, width, panel, [&](int k, float* part) {
        ahead(k);
        return lineOf<K>(w, reader, k, bytes, n, count, part);
      });
    });
  }

  // Whole vectors of columns of a packed matrix, without a stop in memory.
  template <class K, bool kScaled>
  void packVectors(long n, int width, const Ahead& ahead, uint32_t* panel) const {
    const size_t bytes = rowBytesOf<K>(w.columns);
    const ReaderOf<K> reader(w);
    const auto lanes = [&](long k, long j) INLINE {
      const Vec v = reader.lanes(w.data + k * bytes + j / K::kBlock * K::kBytes, j % K::kBlock);
      if constexpr (!kScaled) return v;
      else return v * (w.rowScale ? w.rowScale[k] : 1) * (w.columnScale ? load(w.columnScale + j) : splat(1));
    };
    for (long k = 0; k < inner; k += 2) {
      ahead(k);
      ahead(k + 1);
      for (long j = n; j < n + width; j += kLanes, panel += kLanes) store(panel, pairs(lanes(k, j), k + 1 < inner ? lanes(k + 1, j) : Vec{}));
    }
  }
};

// B[k, n] = data[k * row + n * column], of T = float or (for bf16 products) Half
template <class T>
struct StridedRight : Right {
  const T* data;
  long row, column;
  StridedRight(const T* d, int innerSize, long r, long c) : data(d), row(r), column(c) { inner = innerSize; }
  void pack(long n, int count, int width, float* panel) const override { packAny(n, count, width, panel); }
  void pack(long n, int count, int width, uint32_t* panel) const override { packAny(n, count, width, panel); }

 private:
  template <class To>
  void packAny(long n, int count, int width, To* panel) const {
    if constexpr (sizeof(T) == 2 && std::is_same_v<To, float>) throw std::logic_error("fp32 products take no bf16 values");
    else {
      const T* from = data + n * column;
      if (row == 1)
        return packAcross(inner, count, width, panel, [&](int j, int k, int, float*) { return from + j * column + k; });
      packAlong<T>(inner, count, width, panel, [&](int k, T* part) {
        const T* line = from + k * row;
        if (column == 1) return line;
        for (int j = 0; j < count; j++) part[j] = line[j * column];
        return static_cast<const T*>(part);
      });
    }
  }
};

inline Weight dense(const float* data, long rows, long columns, const float* rowScale = nullptr) {
  return {reinterpret_cast<const uint8_t*>(data), kPlain, rows, columns, rowScale};
}

// Columns of the panels for a right side of so many: what leaves the fewest of them empty. A multiple of 8, as packAcross asks.
inline int widthFor(long columns) {
  int best = kColumns;
  const auto padded = [&](long width) { return (columns + width - 1) / width * width; };
  for (int vectors = kVectors - 1; vectors > 0; vectors--)
    if (vectors * kLanes % 8 == 0 && padded(vectors * kLanes) < padded(best)) best = vectors * kLanes;
  return best;
}

// All panels of a right-hand side, one after another, `steps` steps apart.
template <class T>
inline void packAll(const Right& right, long columns, int width, T* panels, long steps) {
  for (long n = 0; n < columns; n += width) right.pack(n, std::min<long>(width, columns - n), width, panels + n * steps);
}

template <class P>
inline void packAll(const Right& right, long columns, typename P::T* panels, int width = kColumns) {
  packAll(right, columns, width, panels, stepsOf<P>(right.inner));
}

template <class P>
inline size_t panelSize(int inner, long columns, int width = kColumns) {
  return static_cast<size_t>((columns + width - 1) / width) * width * stepsOf<P>(inner);
}

// Left-hand side of T = float or (for bf16 products) Half: value (i, k) stands at data[i * row + k * column].
template <class T>
struct Left {
  const T* data;
  long row, column;
};
template <class T>
Left(const T*, long, long) -> Left<T>;

// Left-hand side as the product reads it: step k of row r of tile t stands at data[t * tile + k * step + r * row].
template <class P>
struct Rows {
  const typename P::T* data;
  long tile, step, row;
  int inner;
  const typename P::T* at(long i) const { return data + i / P::kTile * tile + i % P::kTile * row; }
  Rows from(long i) const { return {at(i), tile, step, row, inner}; }  // i: a multiple of kTile
  // Values [first, first + count) of the inner dimension; first: a multiple of kPack.
  Rows part(long first, long count) const { return {data + first / P::kPack * step, tile, step, row, static_cast<int>(count)}; }
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
inline void packTile(const Left<float>& left, int inner, long i, int count, float* to) {
  const float* from = left.data + i * left.row;
  if (left.column == 1) return interleave<F32::kTile>(from, left.row, count, inner, to);
  for (int k = 0; k < inner; k++)
    for (int r = 0; r < count; r++) to[k * F32::kTile + r] = from[r * left.row + k * left.column];
}

inline Half halfOf(float x) { return toBf16(x); }
inline Half halfOf(Half x) { return x; }

template <class T>
inline void packTile(const Left<T>& left, int inner, long i, int count, uint32_t* to) {
  constexpr int kTile = BF16::kTile, run = 512;
  const T* from = left.data + i * left.row;
  if (left.row == 1 && left.column != 1) {  // a line of a transposed matrix holds a value of every row
    for (int k = 0; k < inner; k += 2, to += kTile) {
      const T *first = from + k * left.column, *second = first + left.column;
      for (int r = 0; r < count; r++) to[r] = halfOf(first[r]) | (k + 1 < inner ? static_cast<uint32_t>(halfOf(second[r])) << 16 : 0);
    }
    return;
  }
  if constexpr (sizeof(T) == 2)
    if (left.column == 1 && left.row % 2 == 0 && inner % 2 == 0 && reinterpret_cast<uintptr_t>(from) % 4 == 0)
      return interleave<kTile>(reinterpret_cast<const float*>(from), left.row / 2, count, inner / 2, reinterpret_cast<float*>(to));
  float halves[kTile * run / 2];
  for (int k = 0; k < inner; k += run) {
    const int length = std::min(run, inner - k);
    for (int r = 0; r < count; r++) {
      Half* line = reinterpret_cast<Half*>(halves + r * run / 2);
      const T* values = from + r * left.row + k * left.column;
      if (left.column == 1) convert(values, line, length);
      else
        for (int l = 0; l < length; l++) line[l] = halfOf(values[l * left.column]);
      if (length % 2) line[length] = 0;
    }
    interleave<kTile>(halves, run / 2, count, stepsOf<BF16>(length), reinterpret_cast<float*>(to + k / 2 * kTile));
  }
}

// Rows i to i + kLanes - 1, two whole tiles, of a left-hand side whose columns are contiguous.
template <class T>
inline void packTwo(const Left<T>& left, int inner, long i, uint32_t* to) {
  const T zeros[kLanes] = {};
  uint32_t* there = to + stepsOf<BF16>(inner) * BF16::kTile;
  for (int k = 0; k < inner; k += 2, to += BF16::kTile, there += BF16::kTile) {
    const T* first = left.data + i + k * left.column;
    const VecBits both = pairs(first, k + 1 < inner ? first + left.column : zeros);
    std::memcpy(to, &both, sizeof both / 2);
    std::memcpy(there, reinterpret_cast<const char*>(&both) + sizeof both / 2, sizeof both / 2);
  }
}

// Tiles [first, last) of a left-hand side whose columns are contiguous (a transposed matrix): a line of cache is used by all tiles
// that share it.
inline void packColumns(const Left<float>& left, int inner, long rows, long first, long last, float* to) {
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

template <class P>
inline size_t rowsSize(long rows, int inner) { return static_cast<size_t>((rows + P::kTile - 1) / P::kTile) * P::kTile * stepsOf<P>(inner); }

// body(first, last) for all tiles of so many rows, a few of them a task, on all threads.
template <class P, class Body>
inline void forTiles(long rows, int inner, const Body& body) {
  const long tiles = (rows + P::kTile - 1) / P::kTile, block = std::max<long>(1, 32768 / (std::max(inner, 1) * P::kTile));
  parallelFor(static_cast<int>((tiles + block - 1) / block), [&](int task, int) { body(task * block, std::min(tiles, (task + 1) * block)); });
}

// Makes tiles [first, last) of a left-hand side ready in memory of rowsSize elements, [tiles][stepsOf(inner)][kTile], on the calling thread:
// a single stream, where rows in their own order are kTile streams, whose distance may be the one at which the first-level cache collides.
template <class P, class T>
inline Rows<P> packRows(const Left<T>& left, long rows, int inner, typename P::T* packed, long first, long last) {
  const long steps = stepsOf<P>(inner);
  const Rows<P> made{packed, P::kTile * steps, P::kTile, 1, inner};
  long t = first;
  if (left.row == 1 && left.column != 1) {
    if constexpr (P::kPack == 1) return packColumns(left, inner, rows, first, last, packed), made;
    else if (2 * P::kTile == kLanes)  // a vector holds a line of two tiles
      for (; t + 2 <= last && (t + 2) * P::kTile <= rows; t += 2) packTwo(left, inner, t * P::kTile, packed + t * P::kTile * steps);
  }
  for (; t < last; t++)
    packTile(left, inner, t * P::kTile, std::min<long>(P::kTile, rows - t * P::kTile), packed + t * P::kTile * steps);
  return made;
}

template <class P, class T>
inline Rows<P> packRows(const Left<T>& left, long rows, int inner, typename P::T* packed) {
  return packRows<P>(left, rows, inner, packed, 0, (rows + P::kTile - 1) / P::kTile);
}

// The same in the given scratch slot, on all threads.
template <class P, class T>
inline Rows<P> rowsOf(const Left<T>& left, long rows, int inner, int slot) {
  typename P::T* packed = elements<P>(slot, rowsSize<P>(rows, inner));
  forTiles<P>(rows, inner, [&](long first, long last) { packRows<P>(left, rows, inner, packed, first, last); });
  return {packed, P::kTile * stepsOf<P>(inner), P::kTile, 1, inner};
}

// A left-hand side whose rows make(i, line) gives, one at a time: it never stands in memory as fp32.
template <class P, class Make>
inline Rows<P> rowsMade(long rows, int inner, int slot, const Make& make) {
  const long steps = stepsOf<P>(inner);
  typename P::T* packed = elements<P>(slot, rowsSize<P>(rows, inner));
  forTiles<P>(rows, inner, [&](long first, long last) {
    float* lines = scratch(0, static_cast<size_t>(P::kTile) * inner);
    for (long t = first; t < last; t++) {
      const int count = std::min<long>(P::kTile, rows - t * P::kTile);
      for (int r = 0; r < count; r++) make(t * P::kTile + r, lines + static_cast<long>(r) * inner);
      packTile(Left{static_cast<const float*>(lines), inner, 1}, inner, 0, count, packed + t * P::kTile * steps);
    }
  });
  return {packed, P::kTile * steps, P::kTile, 1, inner};
}

}  // namespace tunebook
