// One step of decoding: rows of tokens, of any sequences, through all layers and the head, by threads that stay together from beginning
// to end. A row alone is what each of them does for itself, as far as no matrix is involved: that costs less than waiting. Several rows
// are shared out.
#pragma once
#include "decode_attention.h"
#include "decode_plan.h"
#include "team.h"

namespace tunebook {

// What is asked of a step: a token (or -1: the next of the embedded rows), its sequence, its position there, whether its logits are
// wanted, and which adapters' slots it uses (bits).
struct Row {
  int32_t token, sequence, position, wanted, slots;
};

struct StepInput {
  const Row* rows;
  long count;
  const float* embedded;   // [count, hidden], looked at where a token is -1
  const float* rotations;  // [tables][rotary / 2 + 1]: angles per position, and what sines and cosines are multiplied by
};

enum Activation { kSilu, kGeluTanh, kGelu, kRelu };

inline Vec tanhBy(Vec x) { return 1.0f - 2.0f / (exp(x * 2.0f) + 1.0f); }
inline Vec activated(long kind, Vec x) {
  switch (kind) {
    case kSilu: return x / (1.0f + exp(-x));
    case kGeluTanh: return x * 0.5f * (1.0f + tanhBy((x + x * x * x * 0.044715f) * 0.7978845608028654f));
    case kGelu:
      for (int i = 0; i < kLanes; i++) x[i] *= 0.5f * (1 + std::erf(x[i] * 0.7071067811865476f));
      return x;
    default: return x > 0 ? x : Vec{};
  }
}

// x [heads][dim]: the first 2 half values of each head turned, in halves.
inline void rotateHeads(float* x, long heads, long dim, long half, const float* cosines, const float* sines) {
  for (long h = 0; h < heads; h++, x += dim)
    for (long i = 0; i < half; i++) {
      const float a = x[i], b = x[i + half];
      x[i] = a * cosines[i] - b * sines[i];
      x[i + half] = b * cosines[i] + a * sines[i];
    }
}

class DecodeStep {
 public:
  DecodeStep(const DecodePlan& plan, KeyValues& cache) : p_(plan), cache_(cache), threads_(threadsFor(plan)), together_(threads_) {
    for (const DecoderBlock& b : p_.blocks)
      for (const auto& together : {std::vector<const Layer*>{&b.q, &b.k, &b.v}, {&b.o}, {&b.up, &b.gate}, {&b.down}}) see(together);
    see({&p_.head});
  }

  // logits [wanted, vocabulary]; best [wanted]: the likeliest token of each. Either may be null.
  void run(const StepInput& in, float* logits, float* best) {
    in_ = in, logits_ = logits, best_ = best;
    prepare();
    parallelFor(threads_, [&](int thread, int) { work(thread); });
    for (size_t i = 0; best && i < wanted_.size(); i++) {
      long at = 0;
      float most = -std::numeric_limits<float>::infinity();
      for (int t = 0; t < threads_; t++) {
        const auto [value, place] = own_[t].best[i];
        if (value > most || (value == most && place < at)) most = value, at = place;
      }
      best[i] = at;
    }
  }

 private:
  // Rows of states, what products take of them, and what only a thread looks at.
  struct Own {
    std::vector<float> h, n, mixed, cosines, sines, q, sums;
    std::vector<Query> queries;
    Activations x, heads, last;
    std::vector<std::pair<float, long>> best;
  };
  // Queries of adjacent rows of a sequence with the same keys.
  struct Item {
    long row, group, column;  // its first row, and the first of its columns: row by row the heads of a group
    int count;
  };

  // Where a layer's work is less than waiting for each other, one thread does it all.
  static int threadsFor(const DecodePlan& p) {
    const long weights = p.hidden * (2 * (p.heads + p.groups) * p.dim + 3 * p.inner);
    return static_cast<int>(std::clamp<long>(weights / 131072, 1, threadCount()));
  }

  void see(const std::vector<const Layer*>& together) {
    long pairs = 0;
    for (const Layer* l : together) {
      if (!l->out) continue;
      (l->matrix.coded ? coded_ : plain_) = true;
      pairs += l->pairs.size();
      for (const PackedPair& pair : l->pairs) widest_ = std::max(widest_, pair.wide);
    }
    mostPairs_ = std::max(mostPairs_, pairs);
  }
  long perGroup() const { return p_.heads / p_.groups; }
  long width() const { return (p_.heads + 2 * p_.groups) * p_.dim; }
  bool alone() const { return in_.count == 1; }
  const Row& row(long m) const { return in_.rows[m]; }

  void prepare() {
    const long m = in_.count, wide = cache_.shape().wide(), half = p_.rotary / 2;
    wanted_.clear();
    items_.clear();
    for (long i = 0; i < m; i++)
      if (row(i).wanted) wanted_.push_back(i);
    for (long first = 0; first < m;) {
      long end = first + 1;
      while (end < m && row(end).sequence == row(first).sequence && row(end).position == row(end - 1).position + 1) end++;
      cache_.reserve(row(first).sequence, row(first).position, row(end - 1).position + 1);
      const long columns = (end - first) * perGroup();
      for (long c = 0; c < columns; c += kTogether)
        for (long g = 0; g < p_.groups; g++) items_.push_back({first, g, c, static_cast<int>(std::min<long>(kTogether, columns - c))});
      first = end;
    }
    own_.resize(threads_);
    for (int t = 0; t < threads_; t++) {
      Own& o = own_[t];
      o.sums.resize(std::max<long>(kTogether, p_.heads) * wide);
      o.queries.resize(std::max<long>(kTogether, p_.heads));
      o.best.assign(wanted_.size(), {-std::numeric_limits<float>::infinity(), 0});
      if (t && !alone()) continue;
      o.h.resize(m * p_.hidden), o.n.resize(m * p_.hidden), o.mixed.resize(m * p_.heads * p_.dim), o.q.resize(p_.heads * p_.dim);
      o.cosines.resize(m * p_.tables * half), o.sines.resize(m * p_.tables * half);
      for (Activations* a : {&o.x, &o.heads, &o.last}) a->coded = coded_, a->plain = plain_;
      o.x.resize(m, p_.hidden), o.heads.resize(m, p_.heads * p_.dim), o.last.resize(wanted_.size(), p_.hidden);
    }
    inner_.coded = coded_, inner_.plain = plain_;
    inner_.resize(m, p_.inner);
    y_.resize(m * width()), z_.resize(m * p_.hidden), gated_.resize(m * p_.inner);
    u_.resize(mostPairs_ * m * widest_);
  }

  void work(int thread) {
    Own& own = own_[alone() ? thread : 0];
    const auto eachRow = [&](const auto& f) {
      if (alone()) f(0L);
      else
        for (long m = thread; m < in_.count; m += threads_) f(m);
    };
    eachRow([&](long m) { begin(m, own); });
    for (size_t l = 0; l < p_.blocks.size(); l++) {
      const DecoderBlock& b = p_.blocks[l];
      eachRow([&](long m) { enter(m, own, b.beforeAttention); });
      if (!alone()) together_.wait();
      attention(thread, own, b, l, eachRow);
      eachRow([&](long m) {
        add(m, own, b.afterAttention);
        enter(m, own, b.beforeMlp);
      });
      if (!alone()) together_.wait();
      mlp(thread, own, b);
      eachRow([&](long m) { add(m, own, b.afterMlp); });
    }
    if (wanted_.empty()) return;
    predict(thread, own);
  }

  void begin(long m, Own& own) {
    const Row& r = row(m);
    float* h = &own.h[m * p_.hidden];
    if (r.token < 0) std::memcpy(h, in_.embedded + m * p_.hidden, p_.hidden * 4);
    else {
      p_.embed.matrix.values(r.token, h);
      for (long i = 0; i < p_.hidden; i++) h[i] *= p_.embedScale;
    }
    if (p_.positions.out) {
      float* at = &own.n[m * p_.hidden];
      p_.positions.matrix.values(r.position, at);
      for (long i = 0; i < p_.hidden; i++) h[i] += at[i];
    }
    const long half = p_.rotary / 2;
    for (long t = 0; t < p_.tables; t++) {
      const float* angles = in_.rotations + t * (half + 1);
      for (long i = 0; i < half; i++) {
        const float angle = r.position * angles[i];  // rounded, as in transformers
        own.cosines[(m * p_.tables + t) * half + i] = std::cos(static_cast<double>(angle)) * angles[half];
        own.sines[(m * p_.tables + t) * half + i] = std::sin(static_cast<double>(angle)) * angles[half];
      }
    }
  }

  // What a half of a block begins with: the states' norm, as products take it.
  void enter(long m, Own& own, const Norm& norm) {
    float* n = &own.n[m * p_.hidden];
    if (norm) norm.apply(&own.h[m * p_.hidden], p_.hidden, n);
    else std::memcpy(n, &own.h[m * p_.hidden], p_.hidden * 4);
    own.x.put(m, n, 0, p_.hidden);
  }

  // What it ends with: z is added to the states.
  void add(long m, Own& own, const Norm& norm) {
    float* h = &own.h[m * p_.hidden];
    const float* z = &z_[m * p_.hidden];
    if (norm) {
      norm.apply(z, p_.hidden, &own.n[m * p_.hidden]);
      z = &own.n[m * p_.hidden];
    }
    for (long i = 0; i < p_.hidden; i++) h[i] += z[i] * p_.residualScale;
  }

  template <class EachRow>
  void attention(int thread, Own& own, const DecoderBlock& b, long l, const EachRow& eachRow) {
    const Layer* all[] = {&b.q, &b.k, &b.v};
    const long to[] = {0, b.q.out, b.q.out + b.k.out};
    const int count = b.k.out ? 3 : 1;
    lower(thread, all, count, own.n.data(), p_.hidden, in_.count);
    products(thread, all, count, own.x, [&](int i, long m, long n, const float* y, long count) { std::memcpy(&y_[m * width() + to[i] + n], y, count * 4); });
    together_.wait();
    if (alone()) attendAlone(thread, own, b, l);
    else {
      eachRow([&](long m) { turn(m, own, b, l, &y_[m * width()], true); });
      together_.wait();
      for (size_t i = thread; i < items_.size(); i += threads_) attendItem(items_[i], own_[thread], b, l);
      together_.wait();
    }
    const long in = p_.heads * p_.dim;
    eachRow([&](long m) {
      float* mixed = &own.mixed[m * in];
      for (size_t i = 0; i < b.o.inScale.size(); i++) mixed[i] *= b.o.inScale[i];
      own.heads.put(m, mixed, 0, in);
    });
    if (!alone()) together_.wait();
    const Layer* o[] = {&b.o};
    lower(thread, o, 1, own.mixed.data(), in, in_.count);
    toStates(thread, b.o, own.heads);
  }

  // z = what a layer makes of x
  void toStates(int thread, const Layer& layer, const Activations& x) {
    const Layer* all[] = {&layer};
    products(thread, all, 1, x, [&](int, long m, long n, const float* y, long count) { std::memcpy(&z_[m * p_.hidden + n], y, count * 4); });
    together_.wait();
  }

  // Norms and rotation of a row's queries and keys, [heads + 2 groups][dim], and its place in the cache.
  void turn(long m, const Own& own, const DecoderBlock& b, long l, float* qkv, bool stores) {
    float *k = qkv + p_.heads * p_.dim, *v = k + p_.groups * p_.dim;
    for (long h = 0; b.queries && h < p_.heads; h++) b.queries.apply(qkv + h * p_.dim, p_.dim, qkv + h * p_.dim);
    for (long g = 0; b.keys && g < p_.groups; g++) b.keys.apply(k + g * p_.dim, p_.dim, k + g * p_.dim);
    if (b.table >= 0) {
      const long half = p_.rotary / 2, at = (m * p_.tables + b.table) * half;
      rotateHeads(qkv, p_.heads + (stores ? p_.groups : 0), p_.dim, half, &own.cosines[at], &own.sines[at]);
    }
    for (long i = 0; i < p_.heads * p_.dim; i++) qkv[i] *= p_.scoreScale;
    if (!stores) return;
    const Row& r = row(m);
    for (long g = 0; g < p_.groups; g++) {
      if (cache_.shape().exact) cache_.put<float>(r.sequence, l, g, r.position, k + g * p_.dim, v + g * p_.dim);
      else cache_.put<Fp16>(r.sequence, l, g, r.position, k + g * p_.dim, v + g * p_.dim);
    }
  }

  Query query(long m, const DecoderBlock& b, const float* q, float* sums) const {
    const long end = row(m).position + 1;
    return {q, sums, b.window ? std::max<long>(0, end - b.window) : 0, end, kUnseen, Vec{}};
  }

  // One row: each thread sees some of the keys, the one that has the row's own position stores it.
  void attendAlone(int thread, Own& own, const DecoderBlock& b, long l) {
    const long wide = cache_.shape().wide(), size = p_.heads * p_.dim;
    const bool stores = row(0).position / KeyValues::kTile % threads_ == thread;
    own.q.assign(y_.begin(), y_.begin() + width());
    turn(0, own, b, l, own.q.data(), stores);
    for (long h = 0; h < p_.heads; h++) own.queries[h] = query(0, b, &own.q[h * p_.dim], &own.sums[h * wide]);
    for (long h = 0; h < p_.heads;) {
      const int count = std::min<long>(kTogether, perGroup() - h % perGroup());
      attend(cache_, {row(0).sequence, l, h / perGroup(), p_.scoreCap}, &own.queries[h], count, thread, threads_);
      h += count;
    }
    together_.wait();
    std::fill(own.mixed.begin(), own.mixed.begin() + size, 0.0f);
    for (long h = 0; h < p_.heads; h++) {
      float top = kUnseen, total = 0;
      for (const Own& part : own_) top = std::max(top, part.queries[h].top);
      for (const Own& part : own_) total += part.queries[h].total() * std::exp(part.queries[h].top - top);
      for (const Own& part : own_) axpy(std::exp(part.queries[h].top - top) / total, part.queries[h].sums, &own.mixed[h * p_.dim], p_.dim);
    }
  }

  void attendItem(const Item& item, Own& own, const DecoderBlock& b, long l) {
    const long wide = cache_.shape().wide();
    const auto place = [&](int c) { return std::pair{item.row + (item.column + c) / perGroup(), item.group * perGroup() + (item.column + c) % perGroup()}; };
    for (int c = 0; c < item.count; c++) {
      const auto [m, h] = place(c);
      own.queries[c] = query(m, b, &y_[m * width() + h * p_.dim], &own.sums[c * wide]);
    }
    attend(cache_, {row(item.row).sequence, l, item.group, p_.scoreCap}, own.queries.data(), item.count, 0, 1);
    for (int c = 0; c < item.count; c++) {
      const auto [m, h] = place(c);
      float* to = &own_[0].mixed[(m * p_.heads + h) * p_.dim];
      const float inverse = 1 / own.queries[c].total();
      for (long i = 0; i < p_.dim; i++) to[i] = own.queries[c].sums[i] * inverse;
    }
  }

  void mlp(int thread, Own& own, const DecoderBlock& b) {
    const Layer* all[] = {&b.up, &b.gate};
    const int count = b.gate.out ? 2 : 1;
    const bool gated = b.gate.out || b.gateFirst;
    lower(thread, all, count, own.n.data(), p_.hidden, in_.count);
    // By runs of 32 columns, which are quantised together.
    const long runs = (p_.inner + kRun - 1) / kRun, from = runs * thread / threads_, to = runs * (thread + 1) / threads_;
    for (long run = from; run < to; run++) {
      const long first = run * kRun, end = std::min(p_.inner, first + kRun);
      for (long g = first / kGroup; g * kGroup < end; g++) {
        if (gated) product(b.gateFirst ? b.up : b.gate, b.gateFirst ? 0 : b.up.pairs.size(), g, own.x, [&](long m, long, const float* y, long) {
          gate(m, g, [&](Vec, int i) { return activated(p_.activation, load(y + i)); });
        });
        product(b.up, 0, b.gateFirst ? g + p_.inner / kGroup : g, own.x, [&](long m, long, const float* y, long) {
          gate(m, g, [&](Vec before, int i) { return gated ? before * load(y + i) : activated(p_.activation, load(y + i)); });
        });
      }
      for (long m = 0; m < in_.count; m++) {
        float* at = &gated_[m * p_.inner];
        for (long i = first; i < end && !b.down.inScale.empty(); i++) at[i] *= b.down.inScale[i];
        inner_.put(m, at, first, end);
      }
    }
    together_.wait();
    const Layer* down[] = {&b.down};
    lower(thread, down, 1, gated_.data(), p_.inner, in_.count);
    toStates(thread, b.down, inner_);
  }

  // Group g of a row between gate and `down` becomes f(what it was, place in the group).
  template <class F>
  void gate(long m, long g, const F& f) {
    for (int i = 0; i < kGroup; i += kLanes) {
      const int count = std::min<long>(kLanes, p_.inner - g * kGroup - i);
      if (count <= 0) return;
      float* at = &gated_[m * p_.inner + g * kGroup + i];
      put(at, f(some(at, count), i), count);
    }
  }

  void predict(int thread, Own& own) {
    const long count = wanted_.size(), vocabulary = p_.head.out;
    const auto normed = [&](long i) {
      float* n = &own.n[i * p_.hidden];
      p_.last.apply(&own.h[wanted_[i] * p_.hidden], p_.hidden, n);
      own.last.put(i, n, 0, p_.hidden);
    };
    if (alone()) normed(0);
    else {
      together_.wait();
      for (long i = thread; i < count; i += threads_) normed(i);
      together_.wait();
    }
    const Layer* head[] = {&p_.head};
    lower(thread, head, 1, own.n.data(), p_.hidden, count, wanted_.data());
    auto& best = own_[thread].best;
    products(thread, head, 1, own.last, [&](int, long i, long n, const float* y, long width) {
      for (long j = 0; j < width; j++) {
        float logit = y[j] * p_.logitScale;
        if (p_.logitCap > 0) logit = capped(logit, p_.logitCap);
        if (logits_) logits_[i * vocabulary + n + j] = logit;
        if (logit > best[i].first) best[i] = {logit, n + j};
      }
    });
  }

  // u = x A^T of all pairs of these layers, shared out by rows and pairs. `rows` of x are those of `places`, or all.
  void lower(int thread, const Layer* const* layers, int count, const float* x, long size, long rows, const long* places = nullptr) {
    long pair = 0;
    for (int i = 0; i < count; i++)
      for (const PackedPair& its : layers[i]->pairs) {
        for (long m = 0; m < rows; m++) {
          if ((pair * rows + m) % threads_ != thread) continue;
          float* u = uOf(pair, m);
          if (row(places ? places[m] : m).slots >> its.slot & 1) its.down(x + m * size, size, u);
          else std::fill(u, u + its.wide, 0.0f);
        }
        pair++;
      }
    if (pair) together_.wait();
  }
  float* uOf(long pair, long m) { return &u_[(pair * in_.count + m) * widest_]; }

  // This thread's share of what layers make of the same x: emit(layer, row, column, values, count).
  template <class Emit>
  void products(int thread, const Layer* const* layers, int count, const Activations& x, const Emit& emit) {
    long total = 0, pairs = 0, before = 0;
    for (int i = 0; i < count; i++) total += layers[i]->matrix.groups();
    const long from = total * thread / threads_, to = total * (thread + 1) / threads_;
    for (int i = 0; i < count; i++) {
      const long groups = layers[i]->matrix.groups();
      for (long g = std::max(0L, from - before); g < std::min(groups, to - before); g++)
        product(*layers[i], pairs, g, x, [&](long m, long n, const float* y, long width) { emit(i, m, n, y, width); });
      before += groups, pairs += layers[i]->pairs.size();
    }
  }

  // 16 columns of one layer: emit(row, column, values, count). `pairs`: the number of the layer's first pair.
  template <class Emit>
  void product(const Layer& layer, long pairs, long g, const Activations& x, const Emit& emit) {
    const uint8_t* group = layer.matrix.group(g);
    const long n = g * kGroup, count = std::min<long>(kGroup, layer.out - n), tile = x.tile();
    alignas(64) float y[kTileRows * kGroup];
    for (long first = 0; first < x.rows; first += tile) {
      layer.matrix.products.of(x, first / tile)(x, first / tile, group, y);
      for (long r = 0; r < std::min(tile, x.rows - first); r++) {
        float* line = y + r * kGroup;
        for (size_t i = 0; i < layer.pairs.size(); i++) layer.pairs[i].up(uOf(pairs + i, first + r), g, line);
        if (layer.bias)
          for (long j = 0; j < count; j++) line[j] += layer.bias[n + j];
        if (!layer.outScale.empty())
          for (long j = 0; j < count; j++) line[j] *= layer.outScale[n + j];
        emit(first + r, n, line, count);
      }
    }
  }

  const DecodePlan& p_;
  KeyValues& cache_;
  const int threads_;
  Barrier together_;
  bool coded_ = false, plain_ = false;
  long widest_ = 0, mostPairs_ = 0;
  StepInput in_{};
  float *logits_ = nullptr, *best_ = nullptr;
  std::vector<long> wanted_;
  std::vector<Item> items_;
  std::vector<Own> own_;
  std::vector<float> y_, z_, gated_, u_;  // [rows][heads + 2 groups][dim], [rows][hidden], [rows][inner], and of pairs
  Activations inner_;
};

}  // namespace tunebook
