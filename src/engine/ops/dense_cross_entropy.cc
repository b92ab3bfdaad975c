// The cross-entropy of a trained output matrix, forward and backward; see dense_cross_entropy.ts.
#include "../native/cross_entropy.h"
#include "../native/elementwise.h"
#include "../native/op.h"

namespace tunebook {
namespace {

template <class P>
void forward(Call& call) {
  const auto x = call.input<float>(0), w = call.input<float>(1);
  const auto labels = call.input<int32_t>(2);
  const long rows = x.rows();
  float* loss = call.output(0, {rows});
  crossEntropy<P>(x.data, rows, dense(w.data, w.dim(0), w.dim(1)), labels.data, loss, call.output(1, {rows}), nullptr);
}

constexpr long kBlock = kRows * 32;  // rows of x at a time

// Vocabulary rows [from, to): their rows of dW, and what they add to dx. With p = (exp(x W^T - lse) - onehot) dy:
// dx = p W, dW = p^T x. `values` holds the panels of x, a block of rows after another.
template <class P>
void backwardSlice(const Rows<P>& x, const typename P::T* values, size_t valuesSize, long rows, const Weight& w, long from, long to,
                   const int32_t* labels, const float* lse, const float* dy, float* dx, float* dw) {
  const long dim = w.columns;
  typename P::T* across = elements<P>(1, panelSize<P>(dim, kVocabulary));
  typename P::T* along = elements<P>(2, panelSize<P>(kVocabulary, dim));
  float* logits = scratch(3, kBlock * kVocabulary);
  typename P::T* packed = elements<P>(4, std::max(rowsSize<P>(kBlock, kVocabulary), rowsSize<P>(kVocabulary, kBlock)));
  std::memset(dw + from * dim, 0, std::max(0L, to - from) * dim * 4);
  for (long n = from; n < to; n += kVocabulary) {
    const long width = std::min(kVocabulary, to - n);
    const float* block = reinterpret_cast<const float*>(w.row(n));
    packAll<P>(StridedRight(block, dim, 1, dim), width, across);
    packAll<P>(StridedRight(block, width, dim, 1), dim, along);
    for (long i = 0; i < rows; i += kBlock) {
      const long count = std::min(kBlock, rows - i);
      multiplyPacked<P>(x.from(i), across, count, width, {logits, width, 1});
      for (long r = 0; r < count; r++) {
        float* line = logits + r * width;
        const float shift = lse[i + r], scale = dy[i + r];
        long j = 0;
        for (; j + kLanes <= width; j += kLanes) store(line + j, exp(load(line + j) - shift) * scale);
        for (; j < width; j++) line[j] = std::exp(line[j] - shift) * scale;
        const long label = labels[i + r] - n;
        if (label >= 0 && label < width) line[label] -= scale;
      }
      float *x0 = dx + i * dim, *w0 = dw + n * dim;
      multiplyPacked<P>(packRows<P>(Left{logits, width, 1}, count, width, packed), along, count, dim, {x0, dim, 1, 1, x0});
      multiplyPacked<P>(packRows<P>(Left{logits, 1, width}, width, count, packed), values + i / kBlock * valuesSize, width, dim, {w0, dim, 1, 1, w0});
    }
  }
}

template <class P>
void backward(Call& call) {
  const auto x = call.input<float>(0), w = call.input<float>(1), lse = call.input<float>(3), dy = call.input<float>(4);
  const auto labels = call.input<int32_t>(2);
  const long vocabulary = w.dim(0), dim = w.dim(1), rows = x.rows();
  checkLabels(labels.data, rows, vocabulary);
  float* dx = call.output(0, x.shape);
  float* dw = call.output(1, w.shape);
  const Weight weight = dense(w.data, vocabulary, dim);
  const Rows<P> left = rowsOf<P>(Left{x.data, dim, 1}, rows, dim, 7);
  const size_t size = panelSize<P>(kBlock, dim);
  const long blocks = (rows + kBlock - 1) / kBlock;
  typename P::T* values = elements<P>(8, size * blocks);
  parallelFor(static_cast<int>(blocks), [&](int b, int) {
    const long first = b * kBlock;
    packAll<P>(StridedRight(x.data + first * dim, std::min(kBlock, rows - first), dim, 1), dim, values + b * size);
  });
  const int slices = threadCount();
  const long share = vocabularyShare(vocabulary, slices);
  float* parts = scratch(9, slices * rows * dim);
  std::memset(parts, 0, slices * rows * dim * 4);
  parallelFor(slices, [&](int s, int) {
    backwardSlice<P>(left, values, size, rows, weight, std::min(vocabulary, s * share), std::min(vocabulary, (s + 1) * share), labels.data,
                     lse.data, dy.data, parts + s * rows * dim, dw);
  });
  forRows(rows, dim, [&](long i) {
    for (long k = i * dim; k < (i + 1) * dim; k++) {
      dx[k] = parts[k];
      for (int s = 1; s < slices; s++) dx[k] += parts[s * rows * dim + k];
    }
  });
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(0), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(0), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookDenseCrossEntropy", {"x: float", "w: float", "labels: int32"}, {"loss: float", "lse: float"}, {"bf16: int"}};
const Spec gradSpec{"TunebookDenseCrossEntropyGrad", {"x: float", "w: float", "labels: int32", "lse: float", "dy: float"},
                    {"dx: float", "dw: float"}, {"bf16: int"}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
