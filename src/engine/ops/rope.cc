// Rotary position embedding in the "rotate half" layout; its gradient is the inverse rotation. See rope.ts.
#include "../native/op.h"
#include "../native/pool.h"
#include "../native/simd.h"

namespace tunebook {
namespace {

void rotate(Call& call) {
  const auto x = call.input<float>(0), cos = call.input<float>(1), sin = call.input<float>(2);
  const float sign = call.attribute(0) ? -1.0f : 1.0f;
  const int heads = x.dim(-2), dim = x.dim(-1), half = dim / 2, seq = x.dim(-3);
  const long tokens = x.size / heads / dim;
  float* y = call.output(0, x.shape);
  constexpr int block = 16;
  parallelFor(static_cast<int>((tokens + block - 1) / block), [&](int task, int) {
    for (long t = task * block; t < std::min<long>(tokens, (task + 1L) * block); t++) {
      const float* c = cos.data + t % seq * half;
      const float* s = sin.data + t % seq * half;
      for (int h = 0; h < heads; h++) {
        const float* in = x.data + (t * heads + h) * dim;
        float* out = y + (t * heads + h) * dim;
        for (int j = 0; j < half; j++) {
          const float a = in[j], b = in[j + half];
          out[j] = a * c[j] - b * s[j] * sign;
          out[j + half] = b * c[j] + a * s[j] * sign;
        }
      }
    }
  });
}

const Spec spec{"TunebookRope", {"x: float", "cos: float", "sin: float"}, {"y: float"}, {"inverse: int"}};
const Op<spec, rotate> op;

}  // namespace
}  // namespace tunebook
