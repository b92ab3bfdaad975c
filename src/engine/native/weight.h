// A frozen weight matrix of any kind (kinds.h), [rows, columns] row by row, and how a run of one row becomes fp32.
#pragma once
#include <type_traits>

#include "kinds.h"

namespace tunebook {

template <int64_t kFirst, int64_t... kNext, class F>
inline bool callOne(int64_t code, std::integer_sequence<int64_t, kNext...>, const F& f) {
  const auto call = [&](auto number) {
    constexpr int64_t kCode = kFirst + decltype(number)::value;
    if constexpr (Kind<kCode>::kKnown) return code == kCode && (f(Kind<kCode>{}), true);
    else return false;
  };
  return (call(std::integral_constant<int64_t, kNext>{}) || ...);
}

constexpr int64_t kKindCodes = 1016;  // all are below

// Calls f with the kind of this number, as a type of its own; false where there is none.
template <class F>
inline bool isKind(int64_t code, const F& f) {
  return callOne<0>(code, std::make_integer_sequence<int64_t, 40>{}, f) || callOne<1000>(code, std::make_integer_sequence<int64_t, kKindCodes - 1000>{}, f);
}

// The same, where there must be one.
template <class F>
inline void withKind(int64_t code, const F& f) {
  if (isKind(code, f)) return;
  throw std::invalid_argument("unknown kind of weight: " + std::to_string(code));
}

template <class K>
constexpr size_t rowBytesOf(long columns) { return columns / K::kBlock * K::kBytes + K::kRowHead; }

struct Weight {
  const uint8_t* data;
  int64_t kind;
  long rows, columns;
  // What products multiply rows and columns by, where there is something.
  const float *rowScale = nullptr, *columnScale = nullptr;
  // Rows of the whole matrix before and behind these.
  long before = 0, behind = 0;

  // Of the whole matrix.
  static size_t bytesOf(int64_t kind, long rows, long columns) {
    size_t bytes = 0;
    withKind(kind, [&](auto k) {
      using K = decltype(k);
      bytes = rows * rowBytesOf<K>(columns);
      if constexpr (K::kNested) bytes = wholeWords(bytes) + 4 + (rows * columns / K::kBlock + 255) / 256 * 4;
    });
    return bytes;
  }
  static constexpr size_t wholeWords(size_t bytes) { return (bytes + 3) / 4 * 4; }
  // Rows [first, first + count) alone.
  Weight part(long first, long count) const {
    Weight rowsOfIt = *this;
    withKind(kind, [&](auto k) { rowsOfIt.data += first * rowBytesOf<decltype(k)>(columns); });
    rowsOfIt.rows = count, rowsOfIt.before = before + first, rowsOfIt.behind = behind + rows - first - count;
    return rowsOfIt;
  }
  bool scaled() const { return rowScale || columnScale; }
  // Scales values [from, from + count) of a row.
  void scale(long row, long from, int count, float* values) const {
    const float all = rowScale ? rowScale[row] : 1;
    if (columnScale)
      for (int i = 0; i < count; i++) values[i] *= all * columnScale[from + i];
    else
      for (int i = 0; i < count; i++) values[i] *= all;
  }
};

// Reads blocks of a matrix of kind K.
template <class K>
struct Reader {
  explicit Reader(const Weight&) {}
  Vec lanes(const uint8_t* block, int first) const { return K::lanes(block, first); }
};

template <class K>
struct NestedReader {
  const uint8_t *data, *nested;  // of the whole matrix
  explicit NestedReader(const Weight& w) : data(w.data - w.before * rowBytesOf<K>(w.columns)) {
    nested = data + Weight::wholeWords((w.before + w.rows + w.behind) * rowBytesOf<K>(w.columns));
  }
  float scale(const uint8_t* block) const {
    const float* numbers = reinterpret_cast<const float*>(nested);
    float product = kSignedMap.values[*block] * numbers[1 + (block - data) / K::kBytes / 256];
    pin(product);  // rounded before the sum, as bitsandbytes does it
    return product + numbers[0];
  }
  Vec lanes(const uint8_t* block, int first) const { return K::lanes(block, first, scale(block)); }
};

template <class K>
using ReaderOf = std::conditional_t<K::kNested, NestedReader<K>, Reader<K>>;

// Values [from, from + count) of a row.
template <class K>
inline void unpackRow([[maybe_unused]] const ReaderOf<K>& reader, const uint8_t* row, long from, int count, float* out) {
  if constexpr (K::kBlock == 1) K::values(row, from, count, out);
  else {
    const uint8_t* block = row + from / K::kBlock * K::kBytes;
    for (int done = 0, offset = from % K::kBlock; done < count; block += K::kBytes, offset = 0) {
      if (offset == 0 && count - done >= K::kBlock) {
        unrolled<K::kBlock / kLanes>([&](auto i) INLINE { store(out + done + i * kLanes, reader.lanes(block, i * kLanes)); });
        done += K::kBlock;
        continue;
      }
      const int end = std::min(K::kBlock, offset + count - done);
      while (offset < end) {
        const int first = offset / kLanes * kLanes, length = std::min(first + kLanes, end) - offset;
        if (length == kLanes) store(out + done, reader.lanes(block, first));
        else {
          float part[kLanes];
          store(part, reader.lanes(block, first));
          std::memcpy(out + done, part + offset - first, length * 4);
        }
        offset += length, done += length;
      }
    }
  }
}

inline void unpack(const Weight& w, long n, long from, int count, float* out) {
  withKind(w.kind, [&](auto kind) {
    using K = decltype(kind);
    unpackRow<K>(ReaderOf<K>(w), w.data + n * rowBytesOf<K>(w.columns), from, count, out);
  });
}

template <class K, class = void>
struct HasDot : std::false_type {};
template <class K>
struct HasDot<K, std::void_t<decltype(&K::dot)>> : std::true_type {};

// Dot product of a row with x; sums[i] is the sum of x over its i-th 32 values (for kinds that have a minimum).
template <class K>
inline float dotRow([[maybe_unused]] const ReaderOf<K>& reader, const uint8_t* row, const float* x, long columns, [[maybe_unused]] const float* sums) {
  if constexpr (HasDot<K>::value) return K::dot(row, x, columns, sums);
  else if constexpr (K::kBlock == 1) {
    float total = 0, run[64];
    for (long k = 0; k < columns; k += 64) {
      const int count = std::min<long>(64, columns - k);
      K::values(row, k, count, run);
      total += dot(run, x + k, count);
    }
    return total;
  } else {
    Vec total{};
    for (long k = 0; k < columns; k += K::kBlock, row += K::kBytes)
      unrolled<K::kBlock / kLanes>([&](auto i) INLINE { total += reader.lanes(row, i * kLanes) * load(x + k + i * kLanes); });
    return sum(total);
  }
}

inline float dotRow(const Weight& w, long n, const float* x, const float* sums) {
  float result = 0;
  withKind(w.kind, [&](auto kind) {
    using K = decltype(kind);
    result = dotRow<K>(ReaderOf<K>(w), w.data + n * rowBytesOf<K>(w.columns), x, w.columns, sums);
  });
  return result;
}

}  // namespace tunebook
