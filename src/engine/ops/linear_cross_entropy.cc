// Cross-entropy of x W^T without the logits in memory: the vocabulary passes by in blocks under an online softmax, as keys
// do in flash attention; the gradient of x is ready when the loss is. See linear_cross_entropy.ts.
#include "../native/op.h"
#include "../native/gemm.h"

#include <algorithm>
#include <vector>

namespace tunebook {
namespace {

constexpr long kVocabulary = kColumns * 16;  // vocabulary rows per block

// What a slice of the vocabulary contributes to each row: running maximum, sum of exponentials, weighted sum of W's rows.
struct Slice {
  float *top, *total, *mean;
};

template <class P>
void runSlice(const Rows<P>& x, long rows, const Weight& w, long from, long to, const int32_t* labels, float* target,
              const Slice& slice, bool gradient) {
  const long dim = w.columns;
  float* unpacked = scratch(0, kVocabulary * dim);
  typename P::T* keys = elements<P>(1, panelSize<P>(dim, kVocabulary));
  typename P::T* values = elements<P>(2, panelSize<P>(kVocabulary, dim));
  constexpr long block = kRows * 8;
  float* logits = scratch(3, block * kVocabulary);
  for (long r = 0; r < rows; r++) {
    slice.top[r] = -INFINITY;
    slice.total[r] = 0;
  }
  if (gradient) std::memset(slice.mean, 0, rows * dim * 4);
  for (long n = from; n < to; n += kVocabulary) {
    const long width = std::min(kVocabulary, to - n);
    for (long j = 0; j < width; j++) unpack(w, n + j, 0, dim, unpacked + j * dim);
    packAll<P>(StridedRight(unpacked, dim, 1, dim), width, keys);
    if (gradient) packAll<P>(StridedRight(unpacked, width, dim, 1), dim, values);
    for (long i = 0; i < rows; i += block) {
      const long count = std::min(block, rows - i);
      multiplyPacked<P>(x.from(i), keys, count, width, {logits, width, 1});
      for (long r = 0; r < count; r++) {
        float* line = logits + r * width;
        const long label = labels[i + r] - n;
        if (label >= 0 && label < width) target[i + r] = line[label];
        float top = slice.top[i + r];
        for (long j = 0; j < width; j++) top = std::max(top, line[j]);
        Vec sums{};
        long j = 0;
        for (; j + kLanes <= width; j += kLanes) {
          const Vec e = exp(load(line + j) - top);
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
        multiplyPacked<P>(rowsOf<P>({logits, width, 1}, count, width, 4, false), values, count, dim,
                          {slice.mean + i * dim, dim, 1, 1, true});
    }
  }
}

template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0);
  const auto w = call.input<uint8_t>(1);
  const auto labels = call.input<int32_t>(2);
  const long vocabulary = call.attribute(1), rows = x.rows(), dim = x.dim(-1);
  const bool gradient = call.attribute(2) != 0;
  const Weight weight{w.data, static_cast<Kind>(static_cast<int64_t>(call.attribute(0))), vocabulary, dim};
  if (static_cast<size_t>(w.size) != Weight::rowBytes(weight.kind, dim) * vocabulary || labels.size != rows)
    throw std::invalid_argument("cross-entropy: a weight of " + std::to_string(w.size) + " bytes and " + std::to_string(labels.size) +
                                " labels do not fit " + std::to_string(rows) + " rows over [" + std::to_string(vocabulary) + ", " + std::to_string(dim) + "]");
  for (long r = 0; r < rows; r++)
    if (labels.data[r] < 0 || labels.data[r] >= vocabulary)
      throw std::invalid_argument("cross-entropy: label " + std::to_string(labels.data[r]) + " is not in [0, " +
                                  std::to_string(vocabulary) + ")");
  float* loss = call.output(0, {rows});
  float* dx = call.output(1, gradient ? Shape{rows, dim} : Shape{0});
  const int slices = threadCount();
  const long share = ((vocabulary + slices - 1) / slices + kVocabulary - 1) / kVocabulary * kVocabulary;
  std::vector<float> top(slices * rows), total(slices * rows), mean(gradient ? slices * rows * dim : 0), target(rows);
  const Rows<P> left = rowsOf<P>({x.data, dim, 1}, rows, dim, 7);
  parallelFor(slices, [&](int s, int) {
    runSlice<P>(left, rows, weight, std::min(vocabulary, s * share), std::min(vocabulary, (s + 1) * share), labels.data,
             target.data(), {&top[s * rows], &total[s * rows], gradient ? &mean[s * rows * dim] : nullptr}, gradient);
  });
  constexpr int block = 16;
  parallelFor(static_cast<int>((rows + block - 1) / block), [&](int task, int) {
    for (long r = task * block; r < std::min<long>(rows, (task + 1L) * block); r++) {
      float highest = -INFINITY, sums = 0;
      for (int s = 0; s < slices; s++) highest = std::max(highest, top[s * rows + r]);
      for (int s = 0; s < slices; s++) sums += total[s * rows + r] * std::exp(top[s * rows + r] - highest);
      loss[r] = highest + std::log(sums) - target[r];
      if (!gradient) continue;
      float* out = dx + r * dim;
      unpack(weight, labels.data[r], 0, dim, out);
      for (long j = 0; j < dim; j++) out[j] = -out[j];
      for (int s = 0; s < slices; s++)
        axpy(std::exp(top[s * rows + r] - highest) / sums, &mean[(s * rows + r) * dim], out, dim);
    }
  });
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(3), [&](auto p) { forward<decltype(p)>(call); });
}

const Spec spec{"TunebookLinearCrossEntropy", {"x: float", "w: uint8", "labels: int32"}, {"loss: float", "dx: float"},
                {"kind: int", "vocabulary: int", "gradient: int", "bf16: int"}};
const Op<spec, forwardAny> op;

}  // namespace
}  // namespace tunebook
