// y = x / sqrt(mean(x^2) + eps) * weight, forward and backward; see rms_norm.ts.
#include "../native/op.h"
#include "../native/pool.h"
#include "../native/simd.h"

namespace tunebook {
namespace {

constexpr int kBlock = 16;  // rows per task

float inverseRoot(const float* x, int dim, float eps) { return 1.0f / std::sqrt(dot(x, x, dim) / dim + eps); }

void forward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1);
  const float eps = call.attribute(0);
  float* y = call.output(0, x.shape);
  const int dim = x.dim(-1), rows = x.rows();
  parallelFor((rows + kBlock - 1) / kBlock, [&](int task, int) {
    for (int i = task * kBlock; i < std::min(rows, (task + 1) * kBlock); i++) {
      const float* in = x.data + static_cast<long>(i) * dim;
      float* out = y + static_cast<long>(i) * dim;
      const float scale = inverseRoot(in, dim, eps);
      for (int j = 0; j < dim; j++) out[j] = in[j] * scale * weight.data[j];
    }
  });
}

// dx = s (w dy) - x s^3 / dim * sum(w dy x), with s the inverse root; dw = sum over rows of dy x s
void backward(Call& call) {
  const auto x = call.input<float>(0), weight = call.input<float>(1), dy = call.input<float>(2);
  const float eps = call.attribute(0);
  const int dim = x.dim(-1), rows = x.rows(), tasks = (rows + kBlock - 1) / kBlock;
  float* dx = call.output(0, x.shape);
  float* dw = call.output(1, weight.shape);
  float* partial = scratch(0, static_cast<size_t>(tasks) * dim);  // summed by task afterwards: the same order at every run
  std::memset(partial, 0, static_cast<size_t>(tasks) * dim * 4);
  parallelFor(tasks, [&](int task, int) {
    float* sums = partial + static_cast<long>(task) * dim;
    for (int i = task * kBlock; i < std::min(rows, (task + 1) * kBlock); i++) {
      const float* in = x.data + static_cast<long>(i) * dim;
      const float* grad = dy.data + static_cast<long>(i) * dim;
      float* out = dx + static_cast<long>(i) * dim;
      const float scale = inverseRoot(in, dim, eps);
      float projection = 0;
      for (int j = 0; j < dim; j++) {
        projection += grad[j] * weight.data[j] * in[j];
        sums[j] += grad[j] * in[j] * scale;
      }
      projection *= scale * scale * scale / dim;
      for (int j = 0; j < dim; j++) out[j] = grad[j] * weight.data[j] * scale - in[j] * projection;
    }
  });
  std::memset(dw, 0, dim * 4);
  for (int task = 0; task < tasks; task++) axpy(1, partial + static_cast<long>(task) * dim, dw, dim);
}

const Spec spec{"TunebookRmsNorm", {"x: float", "weight: float"}, {"y: float"}, {"eps: float"}};
const Spec gradSpec{"TunebookRmsNormGrad", {"x: float", "weight: float", "dy: float"}, {"dx: float", "dw: float"}, {"eps: float"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
