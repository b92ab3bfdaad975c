// The cross-entropy of a trained output head with its gradients; see dense_cross_entropy.ts and dense_losses.ts.
#include "../native/head.h"

namespace tunebook {
namespace {

template <class P>
void compute(Call& call) {
  const Head head(call);
  const auto given = call.input<float>(5);
  if (given.size != 1 && given.size != head.rows)
    throw std::invalid_argument("cross-entropy: " + std::to_string(given.size) + " factors do not fit " + std::to_string(head.rows) + " rows");
  const Factors factors{given.data, given.size > 1};
  const bool trained = call.attribute(4) != 0;
  const long rank = head.pair.rank;
  std::vector<float> losses(head.rows);
  float* sum = call.output(0, {});
  HeadGradients to;
  to.factors = factors;
  to.x = call.output(1, {head.rows, head.dim});
  float* dw = call.output(2, trained ? Shape{head.vocabulary, head.dim} : Shape{0});
  float* du = call.output(3, {head.rows, rank});
  float* db = call.output(4, {head.vocabulary, rank});
  if (trained) to.w = dw;
  if (rank) to.u = du, to.b = db;
  tell(call, 5, crossEntropy<P>(head.x, head.rows, head.weight, head.pair, head.labels, losses.data(), to, head.cap));
  *sum = 0;
  for (long r = 0; r < head.rows; r++) *sum += factors.of(r) * losses[r];
}

void computeAny(Call& call) {
  withPrecision(call.attribute(2), [&](auto p) { compute<decltype(p)>(call); });
}

const Spec spec{"TunebookDenseCrossEntropy", {HEAD_INPUTS, "factors: float"}, {"sum: float", "dx: float", "dw: float", "du: float", "db: float", HEAD_FIGURES},
                {HEAD_ATTRIBUTES, "trained: int"}};
const Op<spec, computeAny> op;

}  // namespace
}  // namespace tunebook
