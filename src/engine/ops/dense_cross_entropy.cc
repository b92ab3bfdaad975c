// The cross-entropy of a trained output head with its gradients; see dense_cross_entropy.ts.
#include "../native/head.h"

namespace tunebook {
namespace {

template <class P>
void compute(Call& call) {
  const Head head(call);
  const float factor = call.attribute(3);
  const bool trained = call.attribute(4) != 0;
  const long rank = head.pair.rank;
  std::vector<float> losses(head.rows);
  float* sum = call.output(0, {});
  HeadGradients to;
  to.factor = factor;
  to.x = call.output(1, {head.rows, head.dim});
  float* dw = call.output(2, trained ? Shape{head.vocabulary, head.dim} : Shape{0});
  float* du = call.output(3, {head.rows, rank});
  float* db = call.output(4, {head.vocabulary, rank});
  if (trained) to.w = dw;
  if (rank) to.u = du, to.b = db;
  crossEntropy<P>(head.x, head.rows, head.weight, head.pair, head.labels, losses.data(), to);
  *sum = 0;
  for (float loss : losses) *sum += factor * loss;
}

void computeAny(Call& call) {
  withPrecision(call.attribute(2), [&](auto p) { compute<decltype(p)>(call); });
}

const Spec spec{"TunebookDenseCrossEntropy", {HEAD_INPUTS}, {"sum: float", "dx: float", "dw: float", "du: float", "db: float"},
                {HEAD_ATTRIBUTES, "factor: float", "trained: int"}};
const Op<spec, computeAny> op;

}  // namespace
}  // namespace tunebook
