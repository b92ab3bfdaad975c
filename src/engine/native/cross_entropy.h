// Cross-entropy of x W^T without the logits in memory: the vocabulary passes by in blocks under an online softmax, as keys
// do in flash attention; the gradient of x is ready when the loss is. For a trained W exponentials of some hundred rows are kept until
// their sums are known, and the gradient of W is made of them. A low-rank pair beside W widens both: the logits are (x, u) (W, B)^T.
// See ops/linear_cross_entropy.ts and ops/dense_cross_entropy.ts.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "cap.h"
#include "elementwise.h"
#include "gemm.h"

namespace tunebook {

constexpr long kVocabulary = kColumns * 16;  // vocabulary rows per block
constexpr long kRowBlock = kRows * 8;        // rows of x at a time

// What a slice of the vocabulary contributes to each row: what its exponentials are relative to, their sum, the sum of logits (relative to
// the same) times them, the largest logit, the sums of W's rows and of B's rows times them.
struct Slice {
  float *top, *total, *moment, *best, *mean, *low;
};

// What is told of rows besides: the sum of their entropies, and how many have the label as their most probable word.
struct Figures {
  double entropy = 0, right = 0;
};

// The second half of a low-rank pair beside W: u [rows, rank] comes from x, b is [vocabulary, rank].
struct Pair {
  const float *u = nullptr, *b = nullptr;
  long rank = 0;
};

// What the losses are multiplied with: one number for all, or one for each.
struct Factors {
  const float* values;
  long each;  // 1 where each row has its own, else 0
  float of(long row) const { return values[row * each]; }
  Factors from(long row) const { return {values + row * each, each}; }
};
constexpr float kOne = 1;

// The gradients of the sum of the losses times their factors: x's and u's, W's and b's. Those that are null are not made.
struct HeadGradients {
  float *x = nullptr, *u = nullptr, *w = nullptr, *b = nullptr;
  Factors factors{&kOne, 0};
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
void vocabularySlice(const Rows<P>& x, const Rows<P>& u, long rows, const Weight& w, const Pair& pair, long from, long to,
                     const int32_t* labels, float* target, const Slice& slice, const Exponentials<P>* kept, float cap) {
  const long dim = w.columns, rank = pair.rank;
  const int lowWidth = widthFor(rank);
  typename P::T* keys = elements<P>(1, panelSize<P>(dim, kVocabulary));
  typename P::T* values = elements<P>(2, panelSize<P>(kVocabulary, dim));
  float* logits = scratch(3, kRowBlock * kVocabulary);
  typename P::T* packed = elements<P>(4, rowsSize<P>(kRowBlock, kVocabulary));
  typename P::T* lowKeys = elements<P>(10, panelSize<P>(rank, kVocabulary));
  typename P::T* lowValues = elements<P>(11, panelSize<P>(kVocabulary, rank, lowWidth));
  for (long r = 0; r < rows; r++) {
    slice.top[r] = slice.best[r] = -INFINITY;
    slice.total[r] = slice.moment[r] = 0;
  }
  if (slice.mean) std::memset(slice.mean, 0, rows * dim * 4);
  if (slice.low) std::memset(slice.low, 0, rows * rank * 4);
  for (long n = from, b = 0; n < to; n += kVocabulary, b++) {
    const long width = std::min(kVocabulary, to - n);
    const Weight part = w.part(n, width);
    packAll<P>(TransposedRight(part), width, keys);
    if (slice.mean) packAll<P>(PlainRight(part), dim, values);
    const Weight beside = dense(pair.b + n * rank, width, rank);
    if (rank) packAll<P>(TransposedRight(beside), width, lowKeys);
    if (slice.low) packAll<P>(PlainRight(beside), rank, lowValues, lowWidth);
    for (long i = 0; i < rows; i += kRowBlock) {
      const long count = std::min(kRowBlock, rows - i);
      multiplyPacked<P>(x.from(i), keys, count, width, {logits, width, 1});
      if (rank) multiplyPacked<P>(u.from(i), lowKeys, count, width, {logits, width, 1, 1, logits});
      for (long r = 0; r < count; r++) {
        float* line = logits + r * width;
        if (cap > 0)
          for (long j = 0; j < width; j += kLanes) {
            const int part = std::min<long>(kLanes, width - j);
            put(line + j, cap * tanhOf(some(line + j, part) * (1 / cap)), part);
          }
        const long label = labels[i + r] - n;
        if (label >= 0 && label < width) target[i + r] = line[label];
        float top = slice.top[i + r];
        const float most = largest(line, width, slice.best[i + r]);
        slice.best[i + r] = most;
        if (most > top + kFar) {
          const float shrink = std::exp(top - most);  // 0 for the first block
          slice.moment[i + r] = shrink > 0 ? shrink * (slice.moment[i + r] + slice.total[i + r] * (top - most)) : 0;
          slice.top[i + r] = top = most;
          slice.total[i + r] *= shrink;
          if (slice.mean)
            for (float *at = slice.mean + (i + r) * dim, *end = at + dim; at < end; at++) *at *= shrink;
          if (slice.low)
            for (float *at = slice.low + (i + r) * rank, *end = at + rank; at < end; at++) *at *= shrink;
        }
        Vec sums{}, moments{};
        long j = 0;
        for (; j + kLanes <= width; j += kLanes) {
          const Vec at = load(line + j), e = P::exp(at - top);
          sums += e;
          moments += e * (at - top);
          store(line + j, cap > 0 ? e * (1.0f - at * at * (1 / (cap * cap))) : e);
        }
        float total = sum(sums), moment = sum(moments);
        for (; j < width; j++) {
          const float e = std::exp(line[j] - top);
          total += e;
          moment += e * (line[j] - top);
          line[j] = e * capSlope(line[j], cap);
        }
        slice.total[i + r] += total;
        slice.moment[i + r] += moment;
      }
      if (slice.mean) {
        const Rows<P> shares = packRows<P>(Left{logits, width, 1}, count, width, packed);
        multiplyPacked<P>(shares, values, count, dim, {slice.mean + i * dim, dim, 1, 1, slice.mean + i * dim});
        if (slice.low) multiplyPacked<P>(shares, lowValues, count, rank, {slice.low + i * rank, rank, 1, 1, slice.low + i * rank}, lowWidth);
      }
      if (kept) packRows<P>(Left{logits, 1, width}, width, count, kept->at(b, i / kRowBlock));
    }
    if (kept) std::memcpy(kept->tops + b * rows, slice.top, rows * 4);
  }
}

// What some rows of x add to vocabulary rows [from, to) of W's gradient, dW = p^T x with p = factor (exp(x W^T - lse) - onehot), each
// row by its own; `target` are the labels' logits. What kept exponentials are to be multiplied by for p is taken to x.
template <class P>
void weightSlice(const float* x, long rows, long dim, long from, long to, const int32_t* labels, const float* lse,
                 const Factors& factors, const float* target, float cap, const Exponentials<P>& kept, bool first, float* dw) {
  const int width = widthFor(dim);
  const long steps = stepsOf<P>(rows), blocks = (rows + kRowBlock - 1) / kRowBlock;
  float* scaled = scratch(5, rows * dim);
  typename P::T* panels = elements<P>(6, panelSize<P>(rows, dim, width));
  const float* before = nullptr;
  for (long n = from, b = 0; n < to; n += kVocabulary, b++) {
    const float* tops = kept.tops + b * rows;
    if (!before || std::memcmp(tops, before, rows * 4)) {
      for (long r = 0; r < rows; r++) {
        const float by = factors.of(r) * std::exp(tops[r] - lse[r]);
        for (long k = r * dim; k < (r + 1) * dim; k++) scaled[k] = x[k] * by;
      }
      packAll<P>(StridedRight(static_cast<const float*>(scaled), rows, dim, 1), dim, panels, width);
    }
    before = tops;
    const long words = std::min(kVocabulary, to - n);
    float* sums = dw + n * dim;
    for (long i = 0; i < words; i += kRowBlock)
      for (long column = 0; column < dim; column += width) {
        Product<P> products[Exponentials<P>::kBlocks];
        for (long k = 0; k < blocks; k++) {
          const int inner = std::min(kRowBlock, rows - k * kRowBlock);
          products[k] = {{kept.at(b, k), P::kTile * stepsOf<P>(inner), P::kTile, 1, inner}, panels + column * steps + k * stepsOf<P>(kRowBlock) * width};
        }
        panelRows<P, Interleaved<P>>(products, blocks, i, std::min(words, i + kRowBlock), {sums, dim, 1, 1, first ? nullptr : sums}, column,
                                     std::min<long>(width, dim - column), width);
      }
  }
  for (long r = 0; r < rows; r++)
    if (labels[r] >= from && labels[r] < to) axpy(-factors.of(r) * capSlope(target[r], cap), x + r * dim, dw + labels[r] * dim, dim);
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

// x [rows, dim], labels [rows] -> loss [rows], with the gradients that are asked for; u's only beside x's.
template <class P>
Figures crossEntropy(const float* x, long rows, const Weight& weight, const Pair& pair, const int32_t* labels, float* loss,
                  const HeadGradients& to = {}, float cap = 0) {
  const long vocabulary = weight.rows, dim = weight.columns, rank = pair.rank;
  checkLabels(labels, rows, vocabulary);
  const int slices = threadCount();
  const bool keep = to.w || to.b;
  const long share = vocabularyShare(vocabulary, slices), most = keep ? std::min(rows, Exponentials<P>::kMost) : rows;
  const long blocks = (share + kVocabulary - 1) / kVocabulary;
  std::vector<float> top(slices * most), total(slices * most), moment(slices * most), best(slices * most), target(most), lse(most), entropy(most),
      right(most), tops(keep ? slices * blocks * most : 0);
  Figures figures;
  float* mean = to.x ? scratch(9, slices * most * dim) : nullptr;
  float* low = to.u ? scratch(12, slices * most * rank) : nullptr;
  const size_t size = Exponentials<P>::total(share);
  typename P::T* tiles = keep ? elements<P>(8, slices * size) : nullptr;
  for (long first = 0; first < rows; first += most) {
    const long count = std::min(most, rows - first);
    const float *x0 = x + first * dim, *u0 = pair.u + first * rank;
    const int32_t* wanted = labels + first;
    const Factors factors = to.factors.from(first);
    const Rows<P> left = rowsOf<P>(Left{x0, dim, 1}, count, dim, 7);
    const Rows<P> lowLeft = rank ? rowsOf<P>(Left{u0, rank, 1}, count, rank, 13) : Rows<P>{};
    const auto slice = [&](long s) {
      return Slice{&top[s * count], &total[s * count], &moment[s * count], &best[s * count], mean ? mean + s * count * dim : nullptr, low ? low + s * count * rank : nullptr};
    };
    const auto exponentials = [&](long s) { return Exponentials<P>{tiles + s * size, &tops[s * blocks * count]}; };
    const auto forSlices = [&](const auto& body) {
      parallelFor(slices, [&](int s, int) { body(s, std::min(vocabulary, s * share), std::min(vocabulary, (s + 1) * share)); });
    };
    forSlices([&](int s, long from, long end) {
      const Exponentials<P> kept = keep ? exponentials(s) : Exponentials<P>{};
      vocabularySlice<P>(left, lowLeft, count, weight, pair, from, end, wanted, target.data(), slice(s), keep ? &kept : nullptr, cap);
    });
    forRows(count, dim, [&](long r) {
      float highest = -INFINITY, sums = 0, moments = 0, largestLogit = -INFINITY;
      for (int s = 0; s < slices; s++) highest = std::max(highest, slice(s).top[r]), largestLogit = std::max(largestLogit, slice(s).best[r]);
      for (int s = 0; s < slices; s++) {
        const float by = std::exp(slice(s).top[r] - highest);
        sums += slice(s).total[r] * by;
        if (by > 0) moments += (slice(s).moment[r] + slice(s).total[r] * (slice(s).top[r] - highest)) * by;
      }
      entropy[r] = std::log(sums) - moments / sums;
      right[r] = target[r] >= largestLogit;
      lse[r] = highest + std::log(sums);
      loss[first + r] = lse[r] - target[r];
      if (!to.x) return;
      const float factor = factors.of(r);
      float *out = to.x + (first + r) * dim, *lowOut = to.u + (first + r) * rank;
      unpack(weight, wanted[r], 0, dim, out);
      const float toLabel = -factor * capSlope(target[r], cap);
      for (long j = 0; j < dim; j++) out[j] *= toLabel;
      if (low)
        for (long j = 0; j < rank; j++) lowOut[j] = toLabel * pair.b[wanted[r] * rank + j];
      for (int s = 0; s < slices; s++) {
        const float by = factor * std::exp(slice(s).top[r] - highest) / sums;
        axpy(by, slice(s).mean + r * dim, out, dim);
        if (low) axpy(by, slice(s).low + r * rank, lowOut, rank);
      }
    });
    if (keep)
      forSlices([&](int s, long from, long end) {
        if (to.w) weightSlice<P>(x0, count, dim, from, end, wanted, lse.data(), factors, target.data(), cap, exponentials(s), first == 0, to.w);
        if (to.b) weightSlice<P>(u0, count, rank, from, end, wanted, lse.data(), factors, target.data(), cap, exponentials(s), first == 0, to.b);
      });
    for (long r = 0; r < count; r++) figures.entropy += entropy[r], figures.right += right[r];
  }
  return figures;
}

}  // namespace tunebook
