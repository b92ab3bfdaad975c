// Rotary position embedding in the "rotate half" layout; its gradient is the inverse rotation. See rope.ts.
#include "../native/elementwise.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void run(Call& call) {
  const auto x = call.input<float>(0), cos = call.input<float>(1), sin = call.input<float>(2);
  const long heads = x.dim(-2), dim = x.dim(-1);
  rotate(x.data, call.output(0, x.shape), x.size / heads / dim, heads * dim, heads, dim, cos.data, sin.data, x.dim(-3),
         call.attribute(0) ? -1.0f : 1.0f);
}

const Spec spec{"TunebookRope", {"x: float", "cos: float", "sin: float"}, {"y: float"}, {"inverse: int"}};
const Op<spec, run> op;

}  // namespace
}  // namespace tunebook
