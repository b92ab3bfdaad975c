// Cross-entropy of x W^T without the logits in memory: the vocabulary passes by in blocks under an online softmax, as keys
// do in flash attention; the gradient of x, for a frozen W, is ready when the loss is. See ops/linear_cross_entropy.ts.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "gemm.h"

namespace tunebook {

constexpr long kVocabulary = kColumns * 16;  // vocabulary rows per block

// What a slice of the vocabulary contributes to each row: running maximum, sum of exponentials, weighted sum of W's rows.
struct Slice {
  float *top, *total, *mean;
};

template <class P>
void vocabularySlice(const Rows<P>& x, long rows, const Weight& w, long from, long to, const int32_t* labels, float* target,
              const Slice& slice, bool gradient) {
  const long dim = w.columns;
  typename P::T* keys = elements<P>(1, panelSize<P>(dim, kVocabulary));
  typename P::T* values = elements<P>(2, panelSize<P>(kVocabulary, dim));
  constexpr long block = kRows * 8;
  float* logits = scratch(3, block * kVocabulary);
  typename P::T* packed = elements<P>(4, rowsSize<P>(block, kVocabulary));
  for (long r = 0; r < rows; r++) {
    slice.top[r] = -INFINITY;
    slice.total[r] = 0;
  }
  if (gradient) std::memset(slice.mean, 0, rows * dim * 4);
  for (long n = from; n < to; n += kVocabulary) {
    const long width = std::min(kVocabulary, to - n);
    const Weight part{w.row(n), w.kind, width, dim};
    packAll<P>(TransposedRight(part), width, keys);
    if (gradient) packAll<P>(PlainRight(part), dim, values);
    for (long i = 0; i < rows; i += block) {
      const long count = std::min(block, rows - i);
      multiplyPacked<P>(x.from(i), keys, count, width, {logits, width, 1});
      for (long r = 0; r < count; r++) {
        float* line = logits + r * width;
        const long label = labels[i + r] - n;
        if (label >= 0 && label < width) target[i + r] = line[label];
        const float top = largest(line, width, slice.top[i + r]);
        Vec sums{};
        long j = 0;
        for (; j + kLanes <= width; j += kLanes) {
          const Vec e = P::exp(load(line + j) - top);
          sums += e;
          store(line + j, e);
        }
        float total = sum(sums);
        for (; j < width; j++) total += line[j] = std::exp(line[j] - top);
        const float shrink = std::exp(slice.top[i + r] - top);  // 0 for the first block
        slice.total[i + r] = slice.total[i + r] * shrink + total;
        slice.top[i + r] = top;
        if (gradient && shrink != 1)
          for (float *at = slice.mean + (i + r) * dim, *end = at + dim; at < end; at++) *at *= shrink;
      }
      if (gradient)
        multiplyPacked<P>(packRows<P>(Left{logits, width, 1}, count, width, packed), values, count, dim,
                          {slice.mean + i * dim, dim, 1, 1, slice.mean + i * dim});
    }
  }
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

// x [rows, dim], labels [rows] -> loss [rows]; lse [rows], the log of the sum of the exponentials, and dx [rows, dim], the
// gradient of each row's loss, may be null.
template <class P>
void crossEntropy(const float* x, long rows, const Weight& weight, const int32_t* labels, float* loss, float* lse, float* dx) {
  const long vocabulary = weight.rows, dim = weight.columns;
  checkLabels(labels, rows, vocabulary);
  const int slices = threadCount();
  const long share = vocabularyShare(vocabulary, slices);
  std::vector<float> top(slices * rows), total(slices * rows), mean(dx ? slices * rows * dim : 0), target(rows);
  const Rows<P> left = rowsOf<P>(Left{x, dim, 1}, rows, dim, 7);
  parallelFor(slices, [&](int s, int) {
    vocabularySlice<P>(left, rows, weight, std::min(vocabulary, s * share), std::min(vocabulary, (s + 1) * share), labels, target.data(),
                       {&top[s * rows], &total[s * rows], dx ? &mean[s * rows * dim] : nullptr}, dx != nullptr);
  });
  constexpr int block = 16;
  parallelFor(static_cast<int>((rows + block - 1) / block), [&](int task, int) {
    for (long r = task * block; r < std::min<long>(rows, (task + 1L) * block); r++) {
      float highest = -INFINITY, sums = 0;
      for (int s = 0; s < slices; s++) highest = std::max(highest, top[s * rows + r]);
      for (int s = 0; s < slices; s++) sums += total[s * rows + r] * std::exp(top[s * rows + r] - highest);
      const float log = highest + std::log(sums);
      loss[r] = log - target[r];
      if (lse) lse[r] = log;
      if (!dx) continue;
      float* out = dx + r * dim;
      unpack(weight, labels[r], 0, dim, out);
      for (long j = 0; j < dim; j++) out[j] = -out[j];
      for (int s = 0; s < slices; s++)
        axpy(std::exp(top[s * rows + r] - highest) / sums, &mean[(s * rows + r) * dim], out, dim);
    }
  });
}

}  // namespace tunebook
