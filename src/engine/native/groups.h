// Weights in groups: the blocks of 16 rows side by side, so that one vector has the same place of 16 rows and a scale serves a lane. A
// matrix is turned in its own memory, there and back; rows behind the last whole 16 stay as they are. Which kinds can be, and how their
// products are taken, is said here; all others are multiplied row by row (group_product.h).
#pragma once
#include <array>

#include "dot8.h"
#include "element.h"
#include "weight.h"

namespace tunebook {

constexpr int kGroup = 16;

// Of a kind that can be grouped: its block has kHalves halves (before the words, or where kHalvesAt says) and words of 4 bytes, each of which
// stands 16 times side by side.
template <int64_t kCode>
struct Grouped {
  static constexpr bool kKnown = false;
};

template <int64_t kCode, int kHalvesOfBlock, int kHalvesAtByte = 0>
struct Units {
  using K = Kind<kCode>;
  static constexpr bool kKnown = true;
  static constexpr int kHalves = kHalvesOfBlock, kWords = (K::kBytes - 2 * kHalves) / 4;
  static constexpr int kHalvesAt = kHalvesAtByte, kWordsAt = kHalvesAt ? 0 : 2 * kHalves;
  static_assert(2 * kHalves + 4 * kWords == K::kBytes && K::kRowHead == 0 && !K::kNested, "a block of halves and words");
  // Word w of a block as it stands in a group, and back.
  static uint32_t turned(int, uint32_t word) { return word; }
  static uint32_t back(int, uint32_t word) { return word; }
  static constexpr int kBlockBytes = K::kBytes * kGroup, kWordsFrom = 2 * kHalves * kGroup;
  // Word w of rows [at, at + kLanes) of a block of a group.
  static VecInt words(const uint8_t* block, int w, int at) { return wordsAt(block + kWordsFrom + (w * kGroup + at) * 4); }
  static Vec halves(const uint8_t* block, int h, int at) { return fp16At(block + (h * kGroup + at) * 2); }
};

// Kinds of blocks that are multiplied in whole numbers say of every run of 32 values: codes(block, run, at, quads), the 8 words of four
// codes each; scale(block, run, at), and minimum(block, run, at): value = scale * code + minimum. kSigned: see Dots.
template <int64_t kCode, int kHalves, bool kHasSign, bool kIsWide = false, int kHalvesAt = 0>
struct CodedUnits : Units<kCode, kHalves, kHalvesAt> {
  static constexpr bool kCoded = true, kSigned = kHasSign, kWide = kIsWide;
  static constexpr bool kTwice = false;  // whether each half of a run has a scale of its own
  static constexpr int kRuns = Kind<kCode>::kBlock / 32;
};

inline void nibbleQuads(VecInt words, VecInt& low, VecInt& high) {
  const VecInt mask = VecInt{} + 0x0f0f0f0f;
  low = words & mask;
  high = (words >> 4) & mask;
}

// GGUF's nibbles: the low ones of 16 bytes, then the high ones.
template <int64_t kCode, int kHalves>
struct GgufNibbles : CodedUnits<kCode, kHalves, false> {
  using Base = Units<kCode, kHalves>;
  INLINE static void codes(const uint8_t* block, int, int at, VecInt (&quads)[8]) {
    unrolled<4>([&](auto w) INLINE { nibbleQuads(Base::words(block, w, at), quads[w], quads[w + 4]); });
  }
  static Vec scale(const uint8_t* block, int, int at) { return Base::halves(block, 0, at); }
};

template <>
struct Grouped<2> : GgufNibbles<2, 1> {
  static Vec minimum(const uint8_t*, int, int, Vec scale) { return scale * -8.0f; }
};
template <>
struct Grouped<3> : GgufNibbles<3, 2> {
  static Vec minimum(const uint8_t* block, int, int at, Vec) { return halves(block, 1, at); }
};

// Bit 4 of four codes, of four bits of a word.
INLINE inline VecInt spreadBits(VecInt words, int shift) {
  const VecInt ones = VecInt{} + 0x01010101;
  return ((((words >> shift) & 15) * 0x00204081) & ones) << 4;
}
template <int64_t kCode, int kHalves>
struct FiveBits : CodedUnits<kCode, kHalves, false, true> {
  using Base = Units<kCode, kHalves>;
  INLINE static void codes(const uint8_t* block, int, int at, VecInt (&quads)[8]) {
    const VecInt high = Base::words(block, 0, at);
    unrolled<4>([&](auto w) INLINE {
      nibbleQuads(Base::words(block, 1 + w, at), quads[w], quads[w + 4]);
      quads[w] |= spreadBits(high, 4 * w);
      quads[w + 4] |= spreadBits(high, 16 + 4 * w);
    });
  }
  static Vec scale(const uint8_t* block, int, int at) { return Base::halves(block, 0, at); }
};
template <>
struct Grouped<6> : FiveBits<6, 1> {
  static Vec minimum(const uint8_t*, int, int, Vec scale) { return scale * -16.0f; }
};
template <>
struct Grouped<7> : FiveBits<7, 2> {
  static Vec minimum(const uint8_t* block, int, int at, Vec) { return halves(block, 1, at); }
};

// Q4_K and Q5_K: of every 32 values a scale and a minimum of 6 bits in 12 bytes, the last four in parts; then, from word kFrom on, nibbles.
template <int64_t kCode, bool kIsWide, int kFrom>
struct SixBitScales : CodedUnits<kCode, 2, false, kIsWide> {
  using Base = Units<kCode, 2>;
  INLINE static VecInt sixBits(const uint8_t* block, int run, int at, int which) {
    const int shift = run % 4 * 8;
    const VecInt whole = Base::words(block, which, at);
    if (run < 4) return (whole >> shift) & 63;
    return ((Base::words(block, 2, at) >> (shift + 4 * which)) & 15) | (((whole >> (shift + 6)) & 3) << 4);
  }
  INLINE static void nibbles(const uint8_t* block, int run, int at, VecInt (&quads)[8]) {
    const VecInt mask = VecInt{} + 0x0f0f0f0f;
    unrolled<8>([&](auto w) INLINE { quads[w] = (Base::words(block, kFrom + run / 2 * 8 + w, at) >> (run % 2 * 4)) & mask; });
  }
  INLINE static Vec scale(const uint8_t* block, int run, int at) { return Base::halves(block, 0, at) * __builtin_convertvector(sixBits(block, run, at, 0), Vec); }
  INLINE static Vec minimum(const uint8_t* block, int run, int at, Vec) { return Base::halves(block, 1, at) * -__builtin_convertvector(sixBits(block, run, at, 1), Vec); }
};
template <>
struct Grouped<12> : SixBitScales<12, false, 3> {
  INLINE static void codes(const uint8_t* block, int run, int at, VecInt (&quads)[8]) { nibbles(block, run, at, quads); }
};
template <>
struct Grouped<13> : SixBitScales<13, true, 11> {
  INLINE static void codes(const uint8_t* block, int run, int at, VecInt (&quads)[8]) {
    nibbles(block, run, at, quads);
    const VecInt ones = VecInt{} + 0x01010101;
    unrolled<8>([&](auto w) INLINE { quads[w] |= ((Base::words(block, 3 + w, at) >> run) & ones) << 4; });
  }
};

// Q6_K: low four bits, high two, of every 16 values a signed byte as scale, and a half behind them.
template <>
struct Grouped<14> : CodedUnits<14, 1, false, true, 208> {
  static constexpr bool kTwice = true;
  INLINE static void codes(const uint8_t* block, int run, int at, VecInt (&quads)[8]) {
    const int half = run / 4, part = run % 4;
    const VecInt low = VecInt{} + 0x0f0f0f0f, high = VecInt{} + 0x03030303;
    unrolled<8>([&](auto w) INLINE {
      quads[w] = ((words(block, half * 16 + part % 2 * 8 + w, at) >> (part / 2 * 4)) & low) | (((words(block, 32 + half * 8 + w, at) >> (2 * part)) & high) << 4);
    });
  }
  // Of values [16 n, 16 n + 16).
  INLINE static Vec scaleOf16(const uint8_t* block, int n, int at) {
    return halves(block, 0, at) * __builtin_convertvector((words(block, 48 + n / 4, at) << (24 - n % 4 * 8)) >> 24, Vec);
  }
  static constexpr float kLeast = -32;  // what code 0 stands for, in scales
};

template <>
struct Grouped<8> : CodedUnits<8, 1, true> {
  INLINE static void codes(const uint8_t* block, int, int at, VecInt (&quads)[8]) {
    unrolled<8>([&](auto w) INLINE { quads[w] = raised(words(block, w, at)); });
  }
  static Vec scale(const uint8_t* block, int, int at) { return halves(block, 0, at); }
  static Vec minimum(const uint8_t*, int, int, Vec scale) { return scale * static_cast<float>(-kRaise); }
};

// bitsandbytes' 4 bits: values from a table, of which whole numbers are made: 127 stands for the largest.
template <int64_t kCode, class Table>
struct TableNibbles : CodedUnits<kCode, 0, true> {
  using Base = Units<kCode, 0>;
  // The file has the first of two values in the high nibble; here the low nibbles are the first four of eight.
  static uint32_t turned(int w, uint32_t word) {
    if (w == 0) return word;  // the scale
    uint32_t result = 0;
    for (int i = 0; i < 8; i++) result |= (word >> (i / 2 * 8 + (i % 2 ? 0 : 4)) & 15) << (i % 4 * 8 + i / 4 * 4);
    return result;
  }
  static uint32_t back(int w, uint32_t word) {
    if (w == 0) return word;
    uint32_t result = 0;
    for (int i = 0; i < 8; i++) result |= (word >> (i % 4 * 8 + i / 4 * 4) & 15) << (i / 2 * 8 + (i % 2 ? 0 : 4));
    return result;
  }
  static const uint8_t* table() {
    static const auto bytes = [] {
      std::array<uint8_t, 16> made;
      for (int i = 0; i < 16; i++) made[i] = static_cast<uint8_t>(std::lrint(Table::kValues[i] * 127) + kRaise);
      return made;
    }();
    return bytes.data();
  }
  INLINE static void codes(const uint8_t* block, int run, int at, VecInt (&quads)[8]) {
    const uint8_t* values = table();
    unrolled<4>([&](auto w) INLINE {
      VecInt low, high;
      nibbleQuads(Base::words(block, 1 + run * 4 + w, at), low, high);
      quads[2 * w] = lookedUp(values, low);
      quads[2 * w + 1] = lookedUp(values, high);
    });
  }
  static Vec scale(const uint8_t* block, int, int at) { return reinterpret_cast<Vec>(Base::words(block, 0, at)) * (1 / 127.0f); }
  static Vec minimum(const uint8_t*, int, int, Vec scale) { return scale * static_cast<float>(-kRaise); }
};
template <>
struct Grouped<1000> : TableNibbles<1000, NormalFloats> {};
template <>
struct Grouped<1001> : TableNibbles<1001, Floats> {};

// Single values, which are multiplied as floats: value(place, at), of rows [at, at + kLanes).
template <int64_t kCode, int kHalves>
struct SingleUnits : Units<kCode, kHalves> {
  static constexpr bool kCoded = false;
};
template <>
struct Grouped<0> : SingleUnits<0, 0> {
  static Vec value(const uint8_t* place, int at) { return reinterpret_cast<Vec>(wordsAt(place + at * 4)); }
};
template <>
struct Grouped<1> : SingleUnits<1, 1> {
  static Vec value(const uint8_t* place, int at) { return fp16At(place + at * 2); }
};
template <>
struct Grouped<30> : SingleUnits<30, 1> {
  static Vec value(const uint8_t* place, int at) { return load(reinterpret_cast<const Half*>(place) + at); }
};

template <int64_t kCode>
Grouped<kCode> groupedOf(Kind<kCode>);

// Calls f(Grouped<code>{}, Kind<code>{}); false where the kind is none that can be grouped.
template <class F>
inline bool withGrouped(int64_t code, const F& f) {
  bool known = false;
  const auto call = [&](auto kind) {
    using G = decltype(groupedOf(kind));
    if constexpr (G::kKnown) f(G{}, kind), known = true;
  };
  return isKind(code, call) && known;
}

// Calls f(from, to, bytes, word) for every unit of a block: its place there, and in a group the one that row 0 has; word: its number, or -1.
template <class G, class F>
INLINE inline void eachUnit(const F& f) {
  for (int h = 0; h < G::kHalves; h++) f(G::kHalvesAt + 2 * h, h * kGroup * 2, 2, -1);
  for (int w = 0; w < G::kWords; w++) f(G::kWordsAt + 4 * w, G::kWordsFrom + w * kGroup * 4, 4, w);
}

template <class G, bool kBack>
INLINE inline void moveUnit(const uint8_t* from, uint8_t* to, int bytes, int word) {
  if (bytes == 2) std::memcpy(to, from, 2);
  else {
    uint32_t value;
    std::memcpy(&value, from, 4);
    value = kBack ? G::back(word, value) : G::turned(word, value);
    std::memcpy(to, &value, 4);
  }
}

// 16 rows of `row` bytes each, of which `count` are there (zeros stand for the others), to a group.
template <class G>
inline void makeGroup(const uint8_t* rows, size_t row, int count, uint8_t* group) {
  constexpr size_t block = G::kBlockBytes / kGroup;
  if (count < kGroup) std::memset(group, 0, row * kGroup);
  for (size_t b = 0; b < row / block; b++)
    for (int r = 0; r < count; r++)
      eachUnit<G>([&](int from, int to, int bytes, int word) INLINE {
        moveUnit<G, false>(rows + r * row + b * block + from, group + b * G::kBlockBytes + to + r * bytes, bytes, word);
      });
}

// One row of a group.
template <class G>
inline void rowOfGroup(const uint8_t* group, int r, size_t row, uint8_t* to) {
  constexpr size_t block = G::kBlockBytes / kGroup;
  for (size_t b = 0; b < row / block; b++)
    eachUnit<G>([&](int at, int from, int bytes, int word) INLINE {
      moveUnit<G, true>(group + b * G::kBlockBytes + from + r * bytes, to + b * block + at, bytes, word);
    });
}

}  // namespace tunebook
