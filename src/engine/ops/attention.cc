// Causal attention with grouped heads as an op, forward, backward and through a cache; see attention.ts.
#include "../native/attention_back.h"
#include "../native/op.h"

namespace tunebook {
namespace {

struct Given {
  Input<float> qkv;
  Dims d;
  explicit Given(Call& call) : qkv(call.input<float>(0)) {
    const long h = call.attribute(0), g = call.attribute(1), dim = qkv.dim(3), row = qkv.dim(2) * dim;
    if (g < 1 || h % g || qkv.dim(2) != h + 2 * g) throw std::invalid_argument("attention: heads do not fit");
    const long sees = call.attribute(3);
    d = {h, g, dim, row, row, h * dim, static_cast<float>(call.attribute(2)), sees > 0 ? sees : std::numeric_limits<long>::max(),
         static_cast<float>(call.attribute(4))};
  }
  std::vector<Sequence> sequences(Call& call) const {
    const auto lengths = call.input<int32_t>(1);
    return sequencesOf(lengths.data, lengths.size, call.attribute(6), qkv.dim(0) * qkv.dim(1));
  }
};

template <class P>
void forward(Call& call) {
  const Given in(call);
  const Packed at(in.d, in.qkv.data);
  float* o = call.output(0, {in.qkv.dim(0), in.qkv.dim(1), in.d.heads * in.d.dim});
  float* lse = call.output(1, {in.qkv.dim(0), in.qkv.dim(1), in.d.heads});
  forwardAll<P>(in.d, in.sequences(call), at.q, at.k, at.v, o, lse);
}

template <class P>
void backward(Call& call) {
  const Given in(call);
  const auto o = call.input<float>(2), lse = call.input<float>(3), dO = call.input<float>(4);
  backwardAll<P>(in.d, in.sequences(call), in.qkv.data, o.data, lse.data, dO.data, call.output(0, in.qkv.shape));
}

// Decoding: one row of queries against the cache, a group of heads per task.
void decodeGroup(const Dims& d, long keys, const float* q, const float* k, const float* v, float* o) {
  const long group = d.group();
  const Cap cap(d);
  float* scores = scratch(2, group * keys);
  for (long t = 0; t < keys; t++)
    for (long h = 0; h < group; h++) scores[h * keys + t] = cap(dot(q + h * d.dim, k + t * d.kRow, d.dim));
  std::memset(o, 0, group * d.dim * 4);
  for (long h = 0; h < group; h++) {
    softmaxRow(scores + h * keys, keys, keys, d.scale);
    for (long t = 0; t < keys; t++) axpy(scores[h * keys + t], v + t * d.kRow, o + h * d.dim, d.dim);
  }
}

// Writes keys and values at `position` of the caches (which belong to the caller and are changed in place), then attends to
// all positions up to there.
void cached(Call& call) {
  const Given in(call);
  const Packed at(in.d, in.qkv.data);
  const auto cacheK = call.input<float>(1), cacheV = call.input<float>(2);
  const long position = call.input<int32_t>(3).data[0], queries = in.qkv.dim(1), keys = position + queries;
  Dims d = in.d;
  const long kRow = d.groups * d.dim;
  if (in.qkv.dim(0) != 1 || keys * kRow > cacheK.size)
    throw std::invalid_argument("attention: position " + std::to_string(keys) + " is past the end of the key/value cache");
  float* allK = const_cast<float*>(cacheK.data);
  float* allV = const_cast<float*>(cacheV.data);
  for (long t = 0; t < queries; t++) {
    std::memcpy(allK + (position + t) * kRow, at.k + t * d.kRow, kRow * 4);
    std::memcpy(allV + (position + t) * kRow, at.v + t * d.kRow, kRow * 4);
  }
  d.kRow = kRow;
  float* o = call.output(0, {1, queries, d.heads * d.dim});
  if (queries > 1) return forwardAll<F32>(d, {{0, queries, keys}}, at.q, allK, allV, o, nullptr);
  const long first = d.firstKey(keys), seen = keys - first;
  const auto group = [&](int g, int) {
    const long head = g * d.group() * d.dim, from = first * kRow + g * d.dim;
    decodeGroup(d, seen, at.q + head, allK + from, allV + from, o + head);
  };
  // Waking the other threads costs as much as a million multiplications.
  if (seen * d.oRow > 1'000'000) return parallelFor(static_cast<int>(d.groups), group);
  for (int g = 0; g < d.groups; g++) group(g, 0);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(5), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(5), [&](auto p) { backward<decltype(p)>(call); });
}

const Spec spec{"TunebookAttention", {"qkv: float", "lengths: int32"}, {"o: float", "lse: float"},
                {"heads: int", "groups: int", "scale: float", "window: int", "cap: float", "bf16: int", "prefixed: int"}};
const Spec gradSpec{"TunebookAttentionGrad", {"qkv: float", "lengths: int32", "o: float", "lse: float", "grad: float"}, {"dqkv: float"},
                    {"heads: int", "groups: int", "scale: float", "window: int", "cap: float", "bf16: int", "prefixed: int"}};
const Spec cachedSpec{"TunebookCachedAttention", {"qkv: float", "cache_k: float", "cache_v: float", "position: int32"}, {"o: float"},
                      {"heads: int", "groups: int", "scale: float", "window: int", "cap: float"}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;
const Op<cachedSpec, cached> cachedOp;

}  // namespace
}  // namespace tunebook
