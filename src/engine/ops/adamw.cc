// One AdamW step of many tensors at once, in place, and the sum of squares that gradient clipping needs; see adamw.ts.
#include "../native/dynamic_map.h"
#include "../native/many.h"
#include "../native/op.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tunebook {
namespace {

// [lr, beta1, beta2, eps, weight_decay, 1 - beta1^t, 1 - beta2^t, gradient factor]; an input, since it changes with every step
// and TensorFlow keeps a kernel for every set of attributes.
struct Hyper {
  float lr, beta1, beta2, eps, decay, size, root, factor;
  explicit Hyper(const float* h)
      : lr(h[0]), beta1(h[1]), beta2(h[2]), eps(h[3]), decay(1 - h[0] * h[4]), size(h[0] / h[5]), root(std::sqrt(h[6])), factor(h[7]) {}
  void update(float& p, float g, float& m, float& v) const {
    const float gradient = g * factor;
    m = beta1 * m + (1 - beta1) * gradient;
    v = beta2 * v + (1 - beta2) * gradient * gradient;
    p = p * decay - size * m / (std::sqrt(v) / root + eps);
  }
};

void step(Call& call) {
  const int n = call.attribute(0);
  const Many<> p(call, 0, n), g(call, n, n), m(call, 2 * n, n), v(call, 3 * n, n);
  p.mustFit(g);
  p.mustFit(m);
  p.mustFit(v);
  const Hyper hyper(call.input<float>(4 * n).data);
  p.forPieces([&](int t, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) hyper.update(p[t][i], g[t][i], m[t][i], v[t][i]);
  });
}

// Moments in 8 bits: blocks of 256 codes behind their extreme value in fp32; see adamw.ts.
constexpr int kBlock = 256, kBlockBytes = 4 + kBlock;

struct Codes : DynamicMap {
  const bool isSigned;
  float middles[255];
  explicit Codes(bool withSign) : DynamicMap(withSign), isSigned(withSign) {
    for (int i = 0; i < 255; i++) middles[i] = (values[i] + values[i + 1]) / 2;
  }
  uint8_t nearest(float x) const {
    int at = 0;
    for (int half = 128; half; half /= 2)
      if (x > middles[at + half - 1]) at += half;
    return at;
  }
  void unpack(const uint8_t* block, int count, float* out) const {
    float scale;
    std::memcpy(&scale, block, 4);
    for (int i = 0; i < count; i++) out[i] = values[block[4 + i]] * scale;
  }
  void pack(const float* from, int count, uint8_t* block) const {
    // With its sign: the codes are not symmetric, and only +1 is one of them. So the extreme comes back as it was, and what was
    // unpacked packs to the same codes again.
    float scale = 0;
    for (int i = 0; i < count; i++)
      if (std::fabs(from[i]) > std::fabs(scale)) scale = from[i];
    std::memcpy(block, &scale, 4);
    const float inverse = scale ? 1 / scale : 0;
    // The lowest unsigned code is 0: a mean square that is not 0 must not become it, or the next step divides by eps alone.
    for (int i = 0; i < count; i++) block[4 + i] = std::max<int>(nearest(from[i] * inverse), !isSigned && from[i] > 0);
  }
};

const Codes signedCodes(true), unsignedCodes(false);

void step8(Call& call) {
  const int n = call.attribute(0);
  const Many<> p(call, 0, n), g(call, n, n);
  const Many<uint8_t> m(call, 2 * n, n), v(call, 3 * n, n);
  p.mustFit(g);
  m.mustFit(v);
  for (int t = 0; t < n; t++)
    if (m.size(t) != (p.size(t) + kBlock - 1) / kBlock * kBlockBytes) throw std::invalid_argument("AdamW: moments of another size");
  const Hyper hyper(call.input<float>(4 * n).data);
  p.forPieces([&](int t, int64_t from, int64_t to) {
    float first[kBlock], second[kBlock];
    for (int64_t i = from; i < to; i += kBlock) {
      const int count = std::min<int64_t>(kBlock, to - i);
      uint8_t *mBlock = m[t] + i / kBlock * kBlockBytes, *vBlock = v[t] + i / kBlock * kBlockBytes;
      signedCodes.unpack(mBlock, count, first);
      unsignedCodes.unpack(vBlock, count, second);
      for (int j = 0; j < count; j++) hyper.update(p[t][i + j], g[t][i + j], first[j], second[j]);
      signedCodes.pack(first, count, mBlock);
      unsignedCodes.pack(second, count, vBlock);
    }
  });
}

// Moments between 8 bits and fp32, for checkpoints: values [size] of packed ones, or packed ones in place of values.
void unpack8(Call& call) {
  const auto packed = call.input<uint8_t>(0);
  const int64_t size = call.attribute(0);
  const Codes& codes = call.attribute(1) ? signedCodes : unsignedCodes;
  if (packed.size != (size + kBlock - 1) / kBlock * kBlockBytes) throw std::invalid_argument("AdamW: moments of another size");
  float* out = call.output(0, {size});
  for (int64_t i = 0; i < size; i += kBlock) codes.unpack(packed.data + i / kBlock * kBlockBytes, std::min<int64_t>(kBlock, size - i), out + i);
}

void pack8(Call& call) {
  const Many<uint8_t> packed(call, 0, 1);
  const auto values = call.input<float>(1);
  const Codes& codes = call.attribute(0) ? signedCodes : unsignedCodes;
  if (packed.size(0) != (values.size + kBlock - 1) / kBlock * kBlockBytes) throw std::invalid_argument("AdamW: moments of another size");
  for (int64_t i = 0; i < values.size; i += kBlock)
    codes.pack(values.data + i, std::min<int64_t>(kBlock, values.size - i), packed[0] + i / kBlock * kBlockBytes);
}

void sumOfSquares(Call& call) {
  const int n = call.attribute(0);
  const Many<> x(call, 0, n);
  std::vector<double> parts(n);
  parallelFor(n, [&](int t, int) {
    for (int64_t i = 0; i < x.size(t); i++) parts[t] += static_cast<double>(x[t][i]) * x[t][i];
  });
  double total = 0;
  for (double part : parts) total += part;
  call.output(0, {})[0] = static_cast<float>(total);
}

const Spec stepSpec{"TunebookAdamW", {"p: N * float", "g: N * float", "m: N * float", "v: N * float", "hyper: float"}, {}, {"N: int"}};
const Spec step8Spec{"TunebookAdamW8", {"p: N * float", "g: N * float", "m: N * uint8", "v: N * uint8", "hyper: float"}, {}, {"N: int"}};
const Spec unpackSpec{"TunebookUnpackMoments", {"packed: uint8"}, {"values: float"}, {"size: int", "signed: int"}};
const Spec packSpec{"TunebookPackMoments", {"packed: uint8", "values: float"}, {}, {"signed: int"}};
const Spec squaresSpec{"TunebookSumOfSquares", {"x: N * float"}, {"y: float"}, {"N: int"}};
const Op<stepSpec, step> stepOp;
const Op<step8Spec, step8> step8Op;
const Op<unpackSpec, unpack8> unpackOp;
const Op<packSpec, pack8> packOp;
const Op<squaresSpec, sumOfSquares> squaresOp;

}  // namespace
}  // namespace tunebook
