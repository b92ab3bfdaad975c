// A list of tensors among an op's inputs ("x: N * float"), which the op may change in place: they belong to its caller.
#pragma once
#include <algorithm>
#include <stdexcept>

#include "op.h"
#include "pool.h"

namespace tunebook {

template <class T = float>
class Many {
 public:
  Many(Call& call, int first, int count) {
    for (int i = 0; i < count; i++) {
      const auto input = call.input<T>(first + i);
      data_.push_back(const_cast<T*>(input.data));
      sizes_.push_back(input.size);
    }
  }
  T* operator[](int i) const { return data_[i]; }
  int64_t size(int i) const { return sizes_[i]; }
  void mustFit(const Many& other) const {
    if (sizes_ != other.sizes_) throw std::invalid_argument("lists of tensors of different sizes");
  }

  // body(tensor, from, to) for pieces of every tensor, on all threads.
  template <class Body>
  void forPieces(const Body& body) const {
    constexpr int64_t length = 16384;  // a multiple of the blocks that 8-bit moments come in
    struct Piece {
      int tensor;
      int64_t from;
    };
    std::vector<Piece> pieces;
    for (int t = 0; t < static_cast<int>(sizes_.size()); t++)
      for (int64_t from = 0; from < sizes_[t]; from += length) pieces.push_back({t, from});
    parallelFor(static_cast<int>(pieces.size()), [&](int i, int) {
      const auto [tensor, from] = pieces[i];
      body(tensor, from, std::min(sizes_[tensor], from + length));
    });
  }

 private:
  std::vector<T*> data_;
  std::vector<int64_t> sizes_;
};

}  // namespace tunebook
