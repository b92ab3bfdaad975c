// Cross-entropy of x W^T without the logits in memory: the vocabulary passes by in blocks under an online softmax, as keys
// do in flash attention; the gradient of x is ready when the loss is. For a trained W exponentials of some hundred rows are kept until
// their sums are known, and the gradient of W is made of them. See ops/linear_cross_entropy.ts and ops/dense_cross_entropy.ts.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "elementwise.h"
#include "gemm.h"

namespace tunebook {

constexpr long kVocabulary = kColumns * 16;  // vocabulary rows per block
constexpr long kRowBlock = kRows * 8;        // rows of x at a time

// What a slice of the vocabulary contributes to each row: what its exponentials are relative to, their sum, the sum of W's rows times them.
struct Slice {
  float *top, *total, *mean;
};

// The exponentials of a slice, rounded as products take them: for every block of the vocabulary and every block of rows a left side with a
// row for each word; and for every block of the vocabulary what each row's were relative to.
template <class P>
struct Exponentials {
  static constexpr long kBlocks = 256 * P::kPack / kRowBlock, kMost = kBlocks * kRowBlock;  // blocks of rows, rows
  static size_t size() { return rowsSize<P>(kVocabulary, kRowBlock); }
  static size_t total(long words) { return (words + kVocabulary - 1) / kVocabulary * kBlocks * size(); }
  typename P::T* tiles;
  float* tops;
  typename P::T* at(long block, long rowBlock) const { return tiles + (block * kBlocks + rowBlock) * size(); }
};

template <class P>
void vocabularySlice(const Rows<P>& x, long rows, const Weight& w, long from, long to, const int32_t* labels, float* target,
                     const Slice& slice, const Exponentials<P>* kept) {
  const long dim = w.columns;
  typename P::T* keys = elements<P>(1, panelSize<P>(dim, kVocabulary));
  typename P::T* values = elements<P>(2, panelSize<P>(kVocabulary, dim));
  float* logits = scratch(3, kRowBlock * kVocabulary);
  typename P::T* packed = elements<P>(4, rowsSize<P>(kRowBlock, kVocabulary));
  for (long r = 0; r < rows; r++) {
    slice.top[r] = -INFINITY;
    slice.total[r] = 0;
  }
  if (slice.mean) std::memset(slice.mean, 0, rows * dim * 4);
  for (long n = from, b = 0; n < to; n += kVocabulary, b++) {
    const long width = std::min(kVocabulary, to - n);
    const Weight part{w.row(n), w.kind, width, dim};
    packAll<P>(TransposedRight(part), width, keys);
    if (slice.mean) packAll<P>(PlainRight(part), dim, values);
    for (long i = 0; i < rows; i += kRowBlock) {
      const long count = std::min(kRowBlock, rows - i);
      multiplyPacked<P>(x.from(i), keys, count, width, {logits, width, 1});
      for (long r = 0; r < count; r++) {
        float* line = logits + r * width;
        const long label = labels[i + r] - n;
        if (label >= 0 && label < width) target[i + r] = line[label];
        float top = slice.top[i + r];
        const float most = largest(line, width, top);
        if (most > top + kFar) {
          const float shrink = std::exp(top - most);  // 0 for the first block
          slice.top[i + r] = top = most;
          slice.total[i + r] *= shrink;
          if (slice.mean)
            for (float *at = slice.mean + (i + r) * dim, *end = at + dim; at < end; at++) *at *= shrink;
        }
        Vec sums{};
        long j = 0;
        for (; j + kLanes <= width; j += kLanes) {
          const Vec e = P::exp(load(line + j) - top);
          sums += e;
          store(line + j, e);
        }
        float total = sum(sums);
        for (; j < width; j++) total += line[j] = std::exp(line[j] - top);
        slice.total[i + r] += total;
      }
      if (slice.mean)
        multiplyPacked<P>(packRows<P>(Left{logits, width, 1}, count, width, packed), values, count, dim,
                          {slice.mean + i * dim, dim, 1, 1, slice.mean + i * dim});
      if (kept) packRows<P>(Left{logits, 1, width}, width, count, kept->at(b, i / kRowBlock));
    }
    if (kept) std::memcpy(kept->tops + b * rows, slice.top, rows * 4);
  }
}

// What some rows of x add to vocabulary rows [from, to) of W's gradient, dW = p^T x with p = factor (exp(x W^T - lse) - onehot). The
// factor by which kept exponentials differ from p is taken to x.
template <class P>
void weightSlice(const float* x, long rows, long dim, long from, long to, const int32_t* labels, const float* lse, float factor,
                 const Exponentials<P>& kept, bool first, float* dw) {
  const int width = widthFor(dim);
  const long steps = stepsOf<P>(rows), blocks = (rows + kRowBlock - 1) / kRowBlock;
  float* scaled = scratch(5, rows * dim);
  typename P::T* panels = elements<P>(6, panelSize<P>(rows, dim, width));
  const float* before = nullptr;
  for (long n = from, b = 0; n < to; n += kVocabulary, b++) {
    const float* tops = kept.tops + b * rows;
    if (!before || std::memcmp(tops, before, rows * 4)) {
      for (long r = 0; r < rows; r++) {
        const float by = factor * std::exp(tops[r] - lse[r]);
        for (long k = r * dim; k < (r + 1) * dim; k++) scaled[k] = x[k] * by;
      }
      packAll<P>(StridedRight(static_cast<const float*>(scaled), rows, dim, 1), dim, panels, width);
    }
    before = tops;
    const long words = std::min(kVocabulary, to - n);
    float* target = dw + n * dim;
    for (long i = 0; i < words; i += kRowBlock)
      for (long column = 0; column < dim; column += width) {
        Product<P> products[Exponentials<P>::kBlocks];
        for (long k = 0; k < blocks; k++) {
          const int inner = std::min(kRowBlock, rows - k * kRowBlock);
          products[k] = {{kept.at(b, k), P::kTile * stepsOf<P>(inner), P::kTile, 1, inner}, panels + column * steps + k * stepsOf<P>(kRowBlock) * width};
        }
        panelRows<P, Interleaved<P>>(products, blocks, i, std::min(words, i + kRowBlock), {target, dim, 1, 1, first ? nullptr : target}, column,
                                     std::min<long>(width, dim - column), width);
      }
  }
  for (long r = 0; r < rows; r++)
    if (labels[r] >= from && labels[r] < to) axpy(-factor, x + r * dim, dw + labels[r] * dim, dim);
}

inline void checkLabels(const int32_t* labels, long rows, long vocabulary) {
  for (long r = 0; r < rows; r++)
    if (labels[r] < 0 || labels[r] >= vocabulary)
      throw std::invalid_argument("cross-entropy: label " + std::to_string(labels[r]) + " is not in [0, " + std::to_string(vocabulary) + ")");
}

// Where a thread's share of the vocabulary begins, at a whole block.
inline long vocabularyShare(long vocabulary, int shares) {
  return ((vocabulary + shares - 1) / shares + kVocabulary - 1) / kVocabulary * kVocabulary;
}

// x [rows, dim], labels [rows] -> loss [rows]; dx [rows, dim] and dw [vocabulary, dim], the gradients of factor * the sum of the losses, may
// be null.
template <class P>
void crossEntropy(const float* x, long rows, const Weight& weight, const int32_t* labels, float* loss, float* dx, float factor = 1,
                  float* dw = nullptr) {
  const long vocabulary = weight.rows, dim = weight.columns;
  checkLabels(labels, rows, vocabulary);
  const int slices = threadCount();
  const long share = vocabularyShare(vocabulary, slices), most = dw ? std::min(rows, Exponentials<P>::kMost) : rows;
  const long blocks = (share + kVocabulary - 1) / kVocabulary;
  std::vector<float> top(slices * most), total(slices * most), target(most), lse(most), tops(dw ? slices * blocks * most : 0);
  float* mean = dx ? scratch(9, slices * most * dim) : nullptr;
  const size_t size = Exponentials<P>::total(share);
  typename P::T* tiles = dw ? elements<P>(8, slices * size) : nullptr;
  for (long first = 0; first < rows; first += most) {
    const long count = std::min(most, rows - first);
    const float* x0 = x + first * dim;
    const int32_t* wanted = labels + first;
    const Rows<P> left = rowsOf<P>(Left{x0, dim, 1}, count, dim, 7);
    const auto slice = [&](long s) { return Slice{&top[s * count], &total[s * count], dx ? mean + s * count * dim : nullptr}; };
    const auto exponentials = [&](long s) { return Exponentials<P>{tiles + s * size, &tops[s * blocks * count]}; };
    const auto forSlices = [&](const auto& body) {
      parallelFor(slices, [&](int s, int) { body(s, std::min(vocabulary, s * share), std::min(vocabulary, (s + 1) * share)); });
    };
    forSlices([&](int s, long from, long to) {
      const Exponentials<P> kept = dw ? exponentials(s) : Exponentials<P>{};
      vocabularySlice<P>(left, count, weight, from, to, wanted, target.data(), slice(s), dw ? &kept : nullptr);
    });
    forRows(count, dim, [&](long r) {
      float highest = -INFINITY, sums = 0;
      for (int s = 0; s < slices; s++) highest = std::max(highest, slice(s).top[r]);
      for (int s = 0; s < slices; s++) sums += slice(s).total[r] * std::exp(slice(s).top[r] - highest);
      lse[r] = highest + std::log(sums);
      loss[first + r] = lse[r] - target[r];
      if (!dx) return;
      float* out = dx + (first + r) * dim;
      unpack(weight, wanted[r], 0, dim, out);
      for (long j = 0; j < dim; j++) out[j] *= -factor;
      for (int s = 0; s < slices; s++) axpy(factor * std::exp(slice(s).top[r] - highest) / sums, slice(s).mean + r * dim, out, dim);
    });
    if (dw)
      forSlices([&](int s, long from, long to) {
        weightSlice<P>(x0, count, dim, from, to, wanted, lse.data(), factor, exponentials(s), first == 0, dw);
      });
  }
}

}  // namespace tunebook
