// Rows of a frozen table of any kind; see embedding.ts.
#include "../native/op.h"
#include "../native/pool.h"
#include "../native/weight.h"

namespace tunebook {
namespace {

void gather(Call& call) {
  const auto ids = call.input<int32_t>(0);
  const auto w = call.input<uint8_t>(1);
  const long rows = call.attribute(1), dim = call.attribute(2);
  const Weight table{w.data, static_cast<int64_t>(call.attribute(0)), rows, dim};
  if (static_cast<size_t>(w.size) != Weight::bytesOf(table.kind, rows, dim))
    throw std::invalid_argument("embedding: a table of " + std::to_string(w.size) + " bytes is not [" + std::to_string(rows) + ", " + std::to_string(dim) + "]");
  Shape shape = ids.shape;
  shape.push_back(dim);
  float* y = call.output(0, shape);
  for (int64_t i = 0; i < ids.size; i++) {
    const int32_t id = ids.data[i];
    if (id < 0 || id >= rows)
      throw std::invalid_argument("embedding: token id " + std::to_string(id) + " is not in [0, " + std::to_string(rows) +
                                  "). Does the tokenizer belong to this model?");
    unpack(table, id, 0, dim, y + i * dim);
  }
}

const Spec spec{"TunebookEmbedding", {"ids: int32", "w: uint8"}, {"y: float"}, {"kind: int", "rows: int", "dim: int"}};
const Op<spec, gather> op;

}  // namespace
}  // namespace tunebook
