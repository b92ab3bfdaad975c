// Packing a matrix, some rows at a time, into memory that is there; see pack.ts.
#include "../native/op.h"
#include "../native/pack.h"

namespace tunebook {
namespace {

// [first row, rows]: an input, since it changes from call to call and TensorFlow keeps a kernel for every set of attributes.
void pack(Call& call) {
  const Many<uint8_t> to(call, 0, 1);
  const Many<> scales(call, 2, 1);
  const auto from = call.input<uint8_t>(1);
  const int32_t* place = call.input<int32_t>(3).data;
  const int64_t kind = call.attribute(0);
  const long columns = call.attribute(2), first = place[0], rows = place[1];
  const Weight source{from.data, static_cast<int64_t>(call.attribute(1)), rows, columns};
  if (from.bytes != Weight::bytesOf(source.kind, rows, columns) || static_cast<size_t>(to.size(0)) < Weight::bytesOf(kind, first + rows, columns))
    throw std::invalid_argument("pack: rows of " + std::to_string(from.bytes) + " bytes do not fit a matrix of " + std::to_string(to.size(0)));
  if (source.kind == kind) std::memcpy(to[0] + Weight::bytesOf(kind, first, columns), from.data, from.bytes);
  else packRows(source, kind, first, to[0], scales[0]);
}

void nest(Call& call) {
  const Many<uint8_t> matrix(call, 0, 1);
  const Many<> scales(call, 1, 1);
  const long rows = call.attribute(1), columns = call.attribute(2);
  withKind(static_cast<int64_t>(call.attribute(0)), [&](auto k) {
    using K = decltype(k);
    if constexpr (K::kNested) {
      if (static_cast<size_t>(matrix.size(0)) != Weight::bytesOf(call.attribute(0), rows, columns) || scales.size(0) != rows * columns / K::kBlock)
        throw std::invalid_argument("pack: " + std::to_string(scales.size(0)) + " scales do not fit a matrix of " + std::to_string(matrix.size(0)) + " bytes");
      nestScales<K>(matrix[0], scales[0], rows, columns);
    } else throw std::invalid_argument("pack: this kind has no nested scales");
  });
}

const Spec spec{"TunebookPack", {"to: uint8", "from: uint8", "scales: float", "place: int32"}, {}, {"kind: int", "source: int", "columns: int"}};
const Spec nestSpec{"TunebookNestScales", {"matrix: uint8", "scales: float"}, {}, {"kind: int", "rows: int", "columns: int"}};
const Op<spec, pack> op;
const Op<nestSpec, nest> nestOp;

}  // namespace
}  // namespace tunebook
