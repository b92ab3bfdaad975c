// sums += parts for many tensors at once, in place; see accumulate.ts.
#include "../native/many.h"
#include "../native/op.h"

namespace tunebook {
namespace {

void run(Call& call) {
  const int n = call.attribute(0);
  const Many<> sums(call, 0, n), parts(call, n, n);
  sums.mustFit(parts);
  sums.forPieces([&](int t, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) sums[t][i] += parts[t][i];
  });
}

const Spec spec{"TunebookAccumulate", {"sums: N * float", "parts: N * float"}, {}, {"N: int"}};
const Op<spec, run> op;

}  // namespace
}  // namespace tunebook
