// y = (x - mean) / sqrt(variance + eps) * weight + bias, forward and backward; see layer_norm.ts.
#include "../native/elementwise.h"
#include "../native/op.h"

namespace tunebook {
namespace {

struct Moments {
  float mean, scale;
};

// The variance is of what is left when the mean is taken off: the difference of two large sums would lose it.
Moments momentsOf(const float* x, long dim, float eps) {
  double total = 0;
  for (long j = 0; j < dim; j++) total += x[j];
  const float mean = static_cast<float>(total / dim);
  float squares = 0;
  for (long j = 0; j < dim; j++) squares += (x[j] - mean) * (x[j] - mean);
  return {mean, 1.0f / std::sqrt(squares / dim + eps)};
}

void forward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1), bias = call.input<float>(2);
  const float eps = call.attribute(0);
  float* y = call.output(0, x.shape);
  const long dim = x.dim(-1);
  forRows(x.rows(), dim, [&](long i) {
    const float* in = x.data + i * dim;
    float* out = y + i * dim;
    const auto [mean, scale] = momentsOf(in, dim, eps);
    for (long j = 0; j < dim; j++) out[j] = (in[j] - mean) * scale * weight.data[j] + bias.data[j];
  });
}

// With n = (x - mean) s and g = w dy: dx = s (g - mean(g) - n mean(g n)); dw and db are sums of dy n and dy over rows.
void backward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1), dy = call.input<float>(2);
  const float eps = call.attribute(0);
  const long dim = x.dim(-1), rows = x.rows();
  float* dx = call.output(0, x.shape);
  float* moments = scratch(0, 2 * rows);
  forRows(rows, dim, [&](long i) {
    const float *in = x.data + i * dim, *grad = dy.data + i * dim;
    const auto [mean, scale] = momentsOf(in, dim, eps);
    moments[2 * i] = mean;
    moments[2 * i + 1] = scale;
    float sum = 0, product = 0;
    for (long j = 0; j < dim; j++) {
      const float g = grad[j] * weight.data[j];
      sum += g;
      product += g * (in[j] - mean) * scale;
    }
    sum /= dim;
    product /= dim;
    for (long j = 0; j < dim; j++) dx[i * dim + j] = scale * (grad[j] * weight.data[j] - sum - (in[j] - mean) * scale * product);
  });
  const auto normed = [&](long i, long j) { return (x.data[i * dim + j] - moments[2 * i]) * moments[2 * i + 1]; };
  sumOverRows(rows, dim, [&](long i, long j) { return dy.data[i * dim + j] * normed(i, j); }, call.output(1, weight.shape));
  sumOverRows(rows, dim, [&](long i, long j) { return dy.data[i * dim + j]; }, call.output(2, weight.shape));
}

const Spec spec{"TunebookLayerNorm", {"x: float", "weight: float", "bias: float"}, {"y: float"}, {"eps: float"}};
const Spec gradSpec{"TunebookLayerNormGrad", {"x: float", "weight: float", "dy: float"}, {"dx: float", "dw: float", "db: float"}, {"eps: float"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
