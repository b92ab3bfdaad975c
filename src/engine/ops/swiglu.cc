// y = silu(gate) * up, forward and backward; see swiglu.ts.
#include "../native/op.h"
#include "../native/pool.h"
#include "../native/simd.h"

namespace tunebook {
namespace {

constexpr int64_t kBlock = 8192;  // elements per task; a multiple of every vector width

template <typename Body>
void inBlocks(int64_t size, const Body& body) {
  parallelFor(static_cast<int>((size + kBlock - 1) / kBlock), [&](int task, int) {
    const int64_t end = std::min(size, (task + 1) * kBlock);
    int64_t i = task * kBlock;
    for (; i + kLanes <= end; i += kLanes) body(i, kLanes);
    if (i < end) body(i, static_cast<int>(end - i));
  });
}

// Loads up to kLanes floats, zeros behind them.
Vec some(const float* p, int n) {
  if (n == kLanes) return load(p);
  float line[kLanes] = {};
  std::memcpy(line, p, n * 4);
  return load(line);
}

void put(float* p, Vec v, int n) {
  if (n == kLanes) return store(p, v);
  float line[kLanes];
  store(line, v);
  std::memcpy(p, line, n * 4);
}

void forward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1);
  float* y = call.output(0, gate.shape);
  inBlocks(gate.size, [&](int64_t i, int n) {
    const Vec g = some(gate.data + i, n);
    put(y + i, g / (1.0f + exp(-g)) * some(up.data + i, n), n);
  });
}

void backward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1), dy = call.input<float>(2);
  float* dgate = call.output(0, gate.shape);
  float* dup = call.output(1, gate.shape);
  inBlocks(gate.size, [&](int64_t i, int n) {
    const Vec g = some(gate.data + i, n), u = some(up.data + i, n), d = some(dy.data + i, n);
    const Vec s = 1.0f / (1.0f + exp(-g));
    put(dgate + i, d * u * s * (1.0f + g * (1.0f - s)), n);
    put(dup + i, d * g * s, n);
  });
}

const Spec spec{"TunebookSwiglu", {"gate: float", "up: float"}, {"y: float"}, {}};
const Spec gradSpec{"TunebookSwigluGrad", {"gate: float", "up: float", "dy: float"}, {"dgate: float", "dup: float"}, {}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
