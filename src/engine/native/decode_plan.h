// A decoder as the decode op runs it: what engine/decode.ts has said of its layers, with the tensors kept alive. An adapter's low-rank
// pairs are packed for it once, since they are small.
#pragma once
#include "group_product.h"
#include "key_values.h"
#include "op.h"

namespace tunebook {

// The numbers of a plan one after another, as engine/decode.ts writes them.
class Words {
 public:
  Words(const int32_t* at, int64_t count) : at_(at), end_(at + count) {}
  long next() {
    if (at_ == end_) throw std::invalid_argument("decode: the plan ends too early");
    return *at_++;
  }
  float real() {
    const int32_t bits = static_cast<int32_t>(next());
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  void end() const {
    if (at_ != end_) throw std::invalid_argument("decode: the plan goes on behind its end");
  }

 private:
  const int32_t *at_, *end_;
};

// The tensors that a plan speaks of by number.
struct Tensors {
  std::vector<Input<uint8_t>> packed;
  std::vector<Input<float>> plain;
  const Input<float>* plainAt(long i) const {
    if (i >= static_cast<long>(plain.size())) throw std::invalid_argument("decode: no such tensor");
    return i < 0 ? nullptr : &plain[i];
  }
  const float* vector(long i, long size, const char* what) const {
    const auto* tensor = plainAt(i);
    if (tensor && tensor->size != size)
      throw std::invalid_argument(std::string("decode: ") + what + " of " + std::to_string(tensor->size) + " values where " + std::to_string(size) + " are needed");
    return tensor ? tensor->data : nullptr;
  }
};

// A low-rank pair beside a matrix, packed: a [in][lanes], b a group of 16 rows after another, [rank][16]. In fp16, or in fp32 where `exact`.
struct PackedPair {
  long rank = 0, wide = 0, slot = 0;
  std::vector<Fp16> a16, b16;
  std::vector<float> a32, b32;

  PackedPair(const float* a, const float* b, long rankOf, long in, long out, float scale, long slotOf, bool exact)
      : rank(rankOf), wide((rankOf + kLanes - 1) / kLanes * kLanes), slot(slotOf) {
    if (exact) pack(a, b, in, out, scale, a32, b32);
    else pack(a, b, in, out, scale, a16, b16);
  }
  // u [wide] = scale x a^T
  void down(const float* x, long in, float* u) const { a32.empty() ? downOf(a16.data(), x, in, u) : downOf(a32.data(), x, in, u); }
  // y [16] += u b^T for one group
  void up(const float* u, long group, float* y) const { a32.empty() ? upOf(b16.data(), u, group, y) : upOf(b32.data(), u, group, y); }

 private:
  template <class T>
  void pack(const float* a, const float* b, long in, long out, float scale, std::vector<T>& toA, std::vector<T>& toB) {
    toA.resize(in * wide);
    toB.resize((out + kGroup - 1) / kGroup * kGroup * rank);
    for (long r = 0; r < rank; r++)
      for (long k = 0; k < in; k++) setTo(toA[k * wide + r], a[r * in + k]);
    for (long n = 0; n < out; n++)
      for (long r = 0; r < rank; r++) setTo(toB[(n / kGroup * rank + r) * kGroup + n % kGroup], b[n * rank + r] * scale);
  }
  template <class T>
  void downOf(const T* a, const float* x, long in, float* u) const {
    for (long j = 0; j < wide; j += kLanes) {
      Vec sums[4] = {};
      long k = 0;
      for (; k + 4 <= in; k += 4) unrolled<4>([&](auto i) INLINE { sums[i] += load(a + (k + i) * wide + j) * x[k + i]; });
      for (; k < in; k++) sums[0] += load(a + k * wide + j) * x[k];
      store(u + j, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
  }
  template <class T>
  void upOf(const T* b, const float* u, long group, float* y) const {
    b += group * rank * kGroup;
    for (int at = 0; at < kGroup; at += kLanes) {
      Vec sums = load(y + at);
      for (long r = 0; r < rank; r++) sums += load(b + r * kGroup + at) * u[r];
      store(y + at, sums);
    }
  }
};

// A linear layer: y = l (x W^T + u B^T + bias), x times what scales the input first.
struct Layer {
  GroupedMatrix matrix;
  const float* bias = nullptr;
  std::vector<float> inScale, outScale;
  std::vector<PackedPair> pairs;
  long in = 0, out = 0;

  Layer() = default;
  Layer(Words& words, const Tensors& tensors, bool exact) {
    const long kind = words.next();
    out = words.next(), in = words.next();
    const long packed = words.next(), plain = words.next(), grouped = words.next();
    const uint8_t* data;
    size_t bytes;
    if (packed >= 0) {
      if (packed >= static_cast<long>(tensors.packed.size())) throw std::invalid_argument("decode: no such matrix");
      data = tensors.packed[packed].data, bytes = tensors.packed[packed].bytes;
    } else {
      const auto* tensor = tensors.plainAt(plain);
      if (!tensor) throw std::invalid_argument("decode: a layer without a matrix");
      data = reinterpret_cast<const uint8_t*>(tensor->data), bytes = tensor->bytes;
    }
    if (bytes != Weight::bytesOf(kind, out, in))
      throw std::invalid_argument("decode: a matrix of " + std::to_string(bytes) + " bytes is not [" + std::to_string(out) + ", " + std::to_string(in) + "]");
    matrix = GroupedMatrix({data, kind, out, in}, grouped);
    if (matrix.coded && in % kRun) throw std::invalid_argument("decode: rows of " + std::to_string(in) + " codes");
    bias = tensors.vector(words.next(), out, "a bias");
    for (long n = words.next(); n > 0; n--) {
      const auto* scale = tensors.plainAt(words.next());
      const bool goesOut = words.next();
      if (!scale || scale->size != (goesOut ? out : in)) throw std::invalid_argument("decode: what scales does not fit its layer");
      auto& all = goesOut ? outScale : inScale;
      if (all.empty()) all.assign(scale->size, 1.0f);
      for (long i = 0; i < scale->size; i++) all[i] *= scale->data[i];
    }
    for (long n = words.next(); n > 0; n--) {
      const auto *a = tensors.plainAt(words.next()), *b = tensors.plainAt(words.next());
      const long slot = words.next();
      const float scale = words.real();
      if (!a || !b || a->size % in || b->size != a->size / in * out) throw std::invalid_argument("decode: a low-rank pair does not fit its layer");
      if (a->size) pairs.emplace_back(a->data, b->data, a->size / in, in, out, scale, slot, exact);
    }
  }
};

struct Norm {
  enum Kinds { kNone, kRms, kLayer } kind = kNone;
  const float *gain = nullptr, *shift = nullptr;
  float eps = 0, offset = 0;  // of the gain

  Norm() = default;
  Norm(Words& words, const Tensors& tensors, long size) {
    kind = static_cast<Kinds>(words.next());
    if (kind == kNone) return;
    gain = tensors.vector(words.next(), size, "a norm's gain"), shift = tensors.vector(words.next(), size, "a norm's shift");
    eps = words.real(), offset = words.real();
  }
  explicit operator bool() const { return kind != kNone; }
  // y may be x.
  void apply(const float* x, long size, float* y) const {
    float mean = 0;
    if (kind == kLayer) {
      for (long i = 0; i < size; i++) mean += x[i];
      mean /= size;
      for (long i = 0; i < size; i++) y[i] = x[i] - mean;
      x = y;
    }
    const float scale = 1 / std::sqrt(dot(x, x, size) / size + eps);
    for (long i = 0; i < size; i++) y[i] = x[i] * scale * (gain ? gain[i] + offset : 1) + (shift ? shift[i] : 0);
  }
};

struct DecoderBlock {
  Norm beforeAttention, queries, keys, afterAttention, beforeMlp, afterMlp;
  Layer q, k, v, o, gate, up, down;  // joined ones stand in q, and in up
  bool gateFirst = false;            // up's rows are those of gate and up
  long window = 0, table = -1;       // of rotations; -1: none
};

struct DecodePlan {
  long hidden, inner, heads, groups, dim, rotary, tables, activation;
  float embedScale, residualScale, scoreScale, scoreCap, logitScale, logitCap;
  bool exact;
  Layer embed, head, positions;  // positions: a learned table, or none
  std::vector<DecoderBlock> blocks;
  Norm last;

  DecodePlan(Words words, const Tensors& tensors) {
    const long count = words.next();
    hidden = words.next(), inner = words.next(), heads = words.next(), groups = words.next(), dim = words.next();
    rotary = words.next(), tables = words.next(), activation = words.next(), exact = words.next();
    embedScale = words.real(), residualScale = words.real(), scoreScale = words.real(), scoreCap = words.real();
    logitScale = words.real(), logitCap = words.real();
    if (groups < 1 || heads % groups || rotary > dim || rotary % 2) throw std::invalid_argument("decode: heads do not fit");
    const auto layer = [&](long out, long in) {
      Layer made(words, tensors, exact);
      if (made.out != out || made.in != in) throw std::invalid_argument("decode: a layer of [" + std::to_string(made.out) + ", " + std::to_string(made.in) + "] where [" + std::to_string(out) + ", " + std::to_string(in) + "] is needed");
      return made;
    };
    embed = Layer(words, tensors, exact);
    if (words.next()) positions = Layer(words, tensors, exact);
    blocks.resize(count);
    for (DecoderBlock& b : blocks) {
      b.window = words.next(), b.table = words.next();
      if (b.table >= tables) throw std::invalid_argument("decode: no such rotation");
      for (auto [norm, size] : {std::pair{&b.beforeAttention, hidden}, {&b.queries, dim}, {&b.keys, dim}, {&b.afterAttention, hidden}, {&b.beforeMlp, hidden}, {&b.afterMlp, hidden}})
        *norm = Norm(words, tensors, size);
      b.q = Layer(words, tensors, exact);
      const bool joined = b.q.out == (heads + 2 * groups) * dim;
      if (words.next()) b.k = layer(groups * dim, hidden);
      if (words.next()) b.v = layer(groups * dim, hidden);
      if (b.q.in != hidden || (!joined && b.q.out != heads * dim) || joined == (b.k.out && b.v.out)) throw std::invalid_argument("decode: queries, keys and values do not fit");
      b.o = layer(hidden, heads * dim);
      if (words.next()) b.gate = layer(inner, hidden);
      b.up = Layer(words, tensors, exact), b.down = layer(hidden, inner);
      b.gateFirst = !b.gate.out && b.up.out == 2 * inner;
      if (b.up.in != hidden || (b.up.out != inner && !b.gateFirst) || (b.gateFirst && inner % kGroup)) throw std::invalid_argument("decode: a feed-forward layer does not fit");
      for (const Layer* l : {&b.q, &b.k, &b.v, &b.gate, &b.up})
        if (!l->inScale.empty()) throw std::invalid_argument("decode: what goes into several layers is scaled for one");
    }
    last = Norm(words, tensors, hidden);
    head = Layer(words, tensors, exact);
    if (embed.in != hidden || head.in != hidden || (positions.out && positions.in != hidden)) throw std::invalid_argument("decode: tables of another width");
    words.end();
  }
  CacheShape cacheShape() const { return {static_cast<long>(blocks.size()), groups, dim, exact}; }
};

}  // namespace tunebook
