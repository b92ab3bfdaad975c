// y = a + b; see add.ts.
#include "../native/elementwise.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void add(Call& call) {
  const auto a = call.input<float>(0), b = call.input<float>(1);
  if (a.size != b.size) throw std::invalid_argument("add: " + std::to_string(a.size) + " and " + std::to_string(b.size) + " values");
  float* y = call.output(0, a.shape);
  forVectors(a.size, [&](int64_t i, int n) { put(y + i, some(a.data + i, n) + some(b.data + i, n), n); });
}

const Spec spec{"TunebookAdd", {"a: float", "b: float"}, {"y: float"}, {}};
const Op<spec, add> op;

}  // namespace
}  // namespace tunebook
