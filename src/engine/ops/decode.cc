// Decoding: a plan of a model with its sequences' keys and values, steps through it, and weights turned into groups; see decode.ts.
#include <map>
#include <mutex>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "../native/decode_step.h"

namespace tunebook {
namespace {

// A plan, its sequences, and the memory of its steps.
struct Decoding {
  std::shared_ptr<void> tensors;
  DecodePlan plan;
  KeyValues cache;
  DecodeStep step;
  Decoding(std::shared_ptr<void> kept, Words words, const Tensors& tensors) : tensors(std::move(kept)), plan(words, tensors), cache(plan.cacheShape()), step(plan, cache) {}
};

struct Registry {
  std::mutex mutex;
  std::map<int64_t, std::shared_ptr<Decoding>> all;
  int64_t last = 0;

  std::shared_ptr<Decoding> of(int64_t number) {
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = all.find(number);
    if (found == all.end()) throw std::invalid_argument("decode: this decoding has been disposed");
    return found->second;
  }
};
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

// Asks for pages of 2 MiB: decoding reads all weights once a token, and looking small pages up takes a quarter of that.
void intoLargePages([[maybe_unused]] const uint8_t* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, since Linux 6.1; where it is unknown, or a page is not all ours, nothing happens
  constexpr uintptr_t kPage = 2 << 20;
  const auto from = reinterpret_cast<uintptr_t>(data), to = from + bytes;
  if (bytes < 65536) return;
  for (uintptr_t page = from / kPage * kPage; page < to; page += kPage) {
    static std::atomic<uintptr_t> last{0};  // weights follow one another
    if (last.exchange(page) != page) madvise(reinterpret_cast<void*>(page), kPage, kCollapse);
  }
#endif
}

// Rows that stand one behind another into groups of 16, or back, in place.
void group(Call& call) {
  const auto w = call.input<uint8_t>(0);
  const int64_t kind = call.attribute(0);
  const long rows = call.attribute(1), columns = call.attribute(2);
  const bool back = call.attribute(3);
  const size_t row = rowBytesOfKind(kind, columns);
  if (w.bytes != Weight::bytesOf(kind, rows, columns)) throw std::invalid_argument("group: a matrix of " + std::to_string(w.bytes) + " bytes is not [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
  auto* bytes = const_cast<uint8_t*>(w.data);
  const bool known = withGrouped(kind, [&](auto g, auto) {
    using G = decltype(g);
    parallelFor(static_cast<int>(rows / kGroup), [&](int i, int) {
      uint8_t *at = bytes + i * kGroup * row, *made = reinterpret_cast<uint8_t*>(scratch(2, kGroup * row / 4 + 1));
      if (back)
        for (int r = 0; r < kGroup; r++) rowOfGroup<G>(at, r, row, made + r * row);
      else makeGroup<G>(at, row, kGroup, made);
      std::memcpy(at, made, kGroup * row);
    });
  });
  if (!back) intoLargePages(w.data, w.bytes);
  if (!known) throw std::invalid_argument("group: a matrix of kind " + std::to_string(kind) + " cannot stand in groups");
}

void plan(Call& call) {
  const int packed = call.attribute(0), plain = call.attribute(1);
  const auto words = call.input<int32_t>(0);
  Tensors tensors;
  for (int i = 0; i < packed; i++) tensors.packed.push_back(call.input<uint8_t>(1 + i));
  for (int i = 0; i < plain; i++) tensors.plain.push_back(call.input<float>(1 + packed + i));
  float* number = call.output(0, {});
  auto made = std::make_shared<Decoding>(call.keep(), Words(words.data, words.size), tensors);
  auto& known = registry();
  std::lock_guard<std::mutex> lock(known.mutex);
  known.all[++known.last] = std::move(made);
  *number = static_cast<float>(known.last);
}

void step(Call& call) {
  const auto which = call.input<int32_t>(0), rows = call.input<int32_t>(1);
  const auto embedded = call.input<float>(2), rotations = call.input<float>(3);
  const bool best = call.attribute(0);
  const auto decoding = registry().of(which.data[0]);
  const DecodePlan& p = decoding->plan;
  const long count = rows.size / 5;
  if (!count || rows.size % 5 || rotations.size != p.tables * (p.rotary / 2 + 1)) throw std::invalid_argument("decode: rows or rotations do not fit");
  const Row* all = reinterpret_cast<const Row*>(rows.data);
  long wanted = 0;
  for (long m = 0; m < count; m++) {
    const Row& r = all[m];
    if (r.token >= p.embed.out || r.sequence < 0 || r.position < 0 || (r.token < 0 && embedded.size != count * p.hidden) || (p.positions.out && r.position >= p.positions.out))
      throw std::invalid_argument("decode: token id " + std::to_string(r.token) + " at position " + std::to_string(r.position) + " is not in [0, " + std::to_string(p.embed.out) +
                                  "), or past the end. Does the tokenizer belong to this model?");
    wanted += r.wanted != 0;
  }
  float* logits = call.output(0, {best ? 0 : wanted, p.head.out});
  float* likeliest = call.output(1, {best ? wanted : 0});
  decoding->step.run({all, count, embedded.data, rotations.data}, best ? nullptr : logits, best ? likeliest : nullptr);
}

// what: number, from, to, length
void copy(Call& call) {
  const auto what = call.input<int32_t>(0);
  if (what.size != 4 || what.data[1] < 0 || what.data[2] < 0) throw std::invalid_argument("decode: no such sequence");
  registry().of(what.data[0])->cache.copy(what.data[1], what.data[2], what.data[3]);
}

void bytes(Call& call) { call.output(0, {})[0] = static_cast<float>(registry().of(call.input<int32_t>(0).data[0])->cache.bytes()); }

void end(Call& call) {
  auto& known = registry();
  std::lock_guard<std::mutex> lock(known.mutex);
  known.all.erase(call.input<int32_t>(0).data[0]);
}

const Spec groupSpec{"TunebookGroup", {"w: uint8"}, {}, {"kind: int", "rows: int", "columns: int", "back: int"}};
const Spec planSpec{"TunebookDecodePlan", {"words: int32", "packed: P * uint8", "plain: N * float"}, {"number: float"}, {"P: int", "N: int"}};
const Spec stepSpec{"TunebookDecode", {"number: int32", "rows: int32", "embedded: float", "rotations: float"}, {"logits: float", "best: float"}, {"likeliest: int"}};
const Spec copySpec{"TunebookDecodeCopy", {"what: int32"}, {}, {}};
const Spec bytesSpec{"TunebookDecodeBytes", {"number: int32"}, {"bytes: float"}, {}};
const Spec endSpec{"TunebookDecodeEnd", {"number: int32"}, {}, {}};
const Op<groupSpec, group> groupOp;
const Op<planSpec, plan> planOp;
const Op<stepSpec, step> stepOp;
const Op<copySpec, copy> copyOp;
const Op<bytesSpec, bytes> bytesOp;
const Op<endSpec, end> endOp;

}  // namespace
}  // namespace tunebook
