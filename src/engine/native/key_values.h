// Keys and values of sequences for decoding, in pages that are added as a sequence grows and shared by those that begin alike. In a page
// 16 positions of a head stand together: keys turned, [dim][16], values [16][wide] with wide = dim filled up to whole vectors.
#pragma once
#include <memory>
#include <vector>

#include "dot8.h"
#include "elementwise.h"

namespace tunebook {

struct Fp16 {
  uint16_t bits;
};

inline Vec load(const Fp16* p) { return fp16At(reinterpret_cast<const uint8_t*>(p)); }
inline void setTo(Fp16& to, float x) { to.bits = floatToHalf(x); }

struct CacheShape {
  long layers, groups, dim;
  bool exact;  // fp32 instead of fp16
  long wide() const { return (dim + kLanes - 1) / kLanes * kLanes; }
  size_t element() const { return exact ? 4 : 2; }
};

class KeyValues {
 public:
  static constexpr long kTile = 16, kPage = 64;  // positions

  explicit KeyValues(const CacheShape& shape) : shape_(shape) {}
  const CacheShape& shape() const { return shape_; }
  size_t bytes() const {
    std::vector<const uint8_t*> seen;
    for (const auto& s : sequences_)
      for (const auto& page : s) seen.push_back(page.get());
    std::sort(seen.begin(), seen.end());
    return (std::unique(seen.begin(), seen.end()) - seen.begin()) * pageBytes();
  }

  // Room for positions [from, to) of a sequence, which no other one shares.
  void reserve(long sequence, long from, long to) {
    if (sequence >= static_cast<long>(sequences_.size())) sequences_.resize(sequence + 1);
    auto& pages = sequences_[sequence];
    if (from > static_cast<long>(pages.size()) * kPage) throw std::invalid_argument("key/value cache: positions are left out");
    while (static_cast<long>(pages.size()) * kPage < to) pages.push_back(newPage());
    for (long p = from / kPage; p * kPage < to; p++)
      if (pages[p].use_count() > 1) {
        const Page own = newPage();
        std::memcpy(own.get(), pages[p].get(), pageBytes());
        pages[p] = own;
      }
  }
  // A sequence becomes the first `length` positions of another, or of itself.
  void copy(long from, long to, long length) {
    const long most = std::max(from, to);
    if (most >= static_cast<long>(sequences_.size())) sequences_.resize(most + 1);
    auto pages = sequences_[from];
    pages.resize(std::min<size_t>(pages.size(), (length + kPage - 1) / kPage));
    sequences_[to] = std::move(pages);
  }

  // What 16 positions from a multiple of 16 on have of a layer and head.
  template <class T>
  T* keys(long sequence, long layer, long group, long position) const { return place<T>(sequence, layer, group, position); }
  template <class T>
  T* values(long sequence, long layer, long group, long position) const { return place<T>(sequence, layer, group, position) + shape_.dim * kTile; }

  template <class T>
  void put(long sequence, long layer, long group, long position, const float* key, const float* value) {
    const long at = position % kTile, wide = shape_.wide();
    T *k = keys<T>(sequence, layer, group, position - at) + at, *v = values<T>(sequence, layer, group, position - at) + at * wide;
    for (long i = 0; i < shape_.dim; i++) setTo(k[i * kTile], key[i]);
    for (long i = 0; i < shape_.dim; i++) setTo(v[i], value[i]);
  }

 private:
  using Page = std::shared_ptr<uint8_t>;
  size_t tileElements() const { return kTile * (shape_.dim + shape_.wide()); }
  size_t pageBytes() const { return kPage / kTile * tileElements() * shape_.layers * shape_.groups * shape_.element(); }
  // Zeros: what no position has written is multiplied by a share of 0, and must be a number.
  Page newPage() const {
    auto* memory = static_cast<uint8_t*>(std::aligned_alloc(64, (pageBytes() + 63) / 64 * 64));
    if (!memory) throw OutOfMemory(pageBytes());
    std::memset(memory, 0, pageBytes());
    return Page(memory, [](uint8_t* p) { std::free(p); });
  }
  template <class T>
  T* place(long sequence, long layer, long group, long position) const {
    const long tile = position % kPage / kTile;
    return reinterpret_cast<T*>(sequences_[sequence][position / kPage].get()) +
           ((layer * shape_.groups + group) * (kPage / kTile) + tile) * tileElements();
  }

  const CacheShape shape_;
  std::vector<std::vector<Page>> sequences_;
};

}  // namespace tunebook
