// A model's output head as ops take it: its matrix, frozen or not, and a low-rank pair beside it.
#pragma once
#include "cross_entropy.h"
#include "op.h"

// What an op's Spec says of it: 5 inputs, and 4 attributes.
#define HEAD_INPUTS "x: float", "w: T", "labels: int32", "u: float", "b: float"
#define HEAD_ATTRIBUTES "kind: int", "vocabulary: int", "bf16: int", "cap: float"
// The sum of the rows' entropies, and how many of them have the label as their most probable word: the last of an op's outputs.
#define HEAD_FIGURES "figures: float"

namespace tunebook {

struct Head {
  const float* x;  // [rows, dim]
  Weight weight;   // [vocabulary, dim]
  Pair pair;
  const int32_t* labels;
  long rows, dim, vocabulary;
  float cap;  // what logits are kept within, or 0

  explicit Head(Call& call) {
    const auto states = call.input<float>(0), u = call.input<float>(3), b = call.input<float>(4);
    const auto w = call.input<uint8_t>(1);  // or floats
    const auto wanted = call.input<int32_t>(2);
    rows = states.rows(), dim = states.dim(-1), vocabulary = call.attribute(1), cap = call.attribute(3);
    x = states.data, labels = wanted.data;
    weight = {w.data, static_cast<int64_t>(call.attribute(0)), vocabulary, dim};
    const long rank = b.size / vocabulary;
    if (w.bytes != Weight::bytesOf(weight.kind, vocabulary, dim) || wanted.size != rows || b.size != rank * vocabulary || u.size != rank * rows)
      throw std::invalid_argument("cross-entropy: a weight of " + std::to_string(w.bytes) + " bytes, " + std::to_string(wanted.size) +
                                  " labels and a pair of " + std::to_string(u.size) + " and " + std::to_string(b.size) + " values do not fit " +
                                  std::to_string(rows) + " rows over [" + std::to_string(vocabulary) + ", " + std::to_string(dim) + "]");
    pair = {u.data, b.data, rank};
  }
};

inline void tell(Call& call, int output, const Figures& figures) {
  float* told = call.output(output, {2});
  told[0] = figures.entropy, told[1] = figures.right;
}

}  // namespace tunebook
