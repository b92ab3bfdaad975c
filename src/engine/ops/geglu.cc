// y = gelu(gate) * up, forward and backward; see geglu.ts.
#include "../native/elementwise.h"
#include "../native/op.h"

namespace tunebook {
namespace {

// GELU and its derivative at g.
struct Gelu {
  Vec value, slope;
};

// With t = tanh(u), u = sqrt(2 / pi) (g + 0.044715 g^3): g (1 + t) / 2, and (1 + t) / 2 + g (1 - t^2) u' / 2.
Gelu approximate(Vec g) {
  constexpr float root = 0.7978845608028654f, cubic = 0.044715f;
  const Vec u = root * (g + cubic * g * g * g);
  const Vec t = 1.0f - 2.0f / (1.0f + exp(2.0f * u));  // tanh
  const Vec half = 0.5f * (1.0f + t);
  return {g * half, half + 0.5f * g * (1.0f - t * t) * root * (1.0f + 3.0f * cubic * g * g)};
}

// g F(g) and F(g) + g f(g), with the normal distribution's F and density f.
Gelu exact(Vec g) {
  float values[kLanes];
  store(values, g);
  for (float& x : values) x = 0.5f * (1.0f + std::erf(x * 0.70710678118654752f));
  const Vec below = load(values);
  return {g * below, below + g * 0.3989422804014327f * exp(-0.5f * g * g)};
}

template <class Body>
void with(Call& call, const Body& body) {
  if (call.attribute(0)) body(approximate);
  else body(exact);
}

void forward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1);
  float* y = call.output(0, gate.shape);
  with(call, [&](auto gelu) {
    forVectors(gate.size, [&](int64_t i, int n) { put(y + i, gelu(some(gate.data + i, n)).value * some(up.data + i, n), n); });
  });
}

void backward(Call& call) {
  const auto gate = call.input<float>(0), up = call.input<float>(1), dy = call.input<float>(2);
  float* dgate = call.output(0, gate.shape);
  float* dup = call.output(1, gate.shape);
  with(call, [&](auto gelu) {
    forVectors(gate.size, [&](int64_t i, int n) {
      const Gelu g = gelu(some(gate.data + i, n));
      const Vec d = some(dy.data + i, n);
      put(dgate + i, d * some(up.data + i, n) * g.slope, n);
      put(dup + i, d * g.value, n);
    });
  });
}

const Spec spec{"TunebookGeglu", {"gate: float", "up: float"}, {"y: float"}, {"tanh: int"}};
const Spec gradSpec{"TunebookGegluGrad", {"gate: float", "up: float", "dy: float"}, {"dgate: float", "dup: float"}, {"tanh: int"}};
const Op<spec, forward> op;
const Op<gradSpec, backward> gradOp;

}  // namespace
}  // namespace tunebook
