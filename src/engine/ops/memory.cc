// Tensors that are memory to write to: in the process, or paged (native/paged.h); see memory.ts.
#include <algorithm>

#include "../native/many.h"
#include "../native/op.h"
#include "../native/paged.h"

namespace tunebook {
namespace {

template <TF_DataType kType, int kSize>
void paged(Call& call) {
  const auto folder = call.input<uint8_t>(0);
  const int64_t count = call.attribute(0);
  const size_t bytes = std::max<size_t>(1, count * kSize);
  void* memory = mapPaged(std::string(reinterpret_cast<const char*>(folder.data), folder.size), bytes);
  call.give(0, kType, {count}, memory, bytes, [](void* data, size_t size, void*) { unmapPaged(data, size); });
}

void zeros(Call& call) {
  const size_t bytes = std::max<size_t>(1, call.attribute(0));
  void* memory = mapZeros(bytes);
  if (!memory) throw OutOfMemory(bytes);
  call.give(0, TF_UINT8, {static_cast<int64_t>(call.attribute(0))}, memory, bytes, [](void* data, size_t size, void*) { unmapPaged(data, size); });
}

// Matrices have mappings of their own: among the pieces of files that go by while a model is loaded they would leave holes in the heap, which
// no later allocation fills.
void empty(Call& call) {
  if (call.attribute(0) < (128 << 10)) call.bytes(0, call.attribute(0));
  else zeros(call);
}

void copy(Call& call) {
  const Many<> to(call, 0, 1);
  const auto from = call.input<float>(1);
  if (to.size(0) != from.size) throw std::invalid_argument("copy: tensors of different sizes");
  std::copy(from.data, from.data + from.size, to[0]);
}

const Spec emptySpec{"TunebookEmpty", {}, {"y: uint8"}, {"size: int"}};
const Spec bytesSpec{"TunebookPagedBytes", {"folder: uint8"}, {"y: uint8"}, {"size: int"}};
const Spec floatsSpec{"TunebookPagedFloats", {"folder: uint8"}, {"y: float"}, {"size: int"}};
const Spec zerosSpec{"TunebookZeros", {}, {"y: uint8"}, {"size: int"}};
const Spec copySpec{"TunebookCopy", {"to: float", "from: float"}, {}, {}};
const Op<emptySpec, empty> emptyOp;
const Op<bytesSpec, paged<TF_UINT8, 1>> bytesOp;
const Op<floatsSpec, paged<TF_FLOAT, 4>> floatsOp;
const Op<zerosSpec, zeros> zerosOp;
const Op<copySpec, copy> copyOp;

}  // namespace
}  // namespace tunebook
