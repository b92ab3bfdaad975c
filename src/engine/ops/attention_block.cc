// The attention half of a block, norm and residual included, forward and backward; see attention_block.ts.
#include "../native/attention_back.h"
#include "../native/qkv.h"

namespace tunebook {
namespace {

enum Slot { kPacked = 11, kOut, kTurned, kQkv, kO };  // of scratch memory; attention uses those up to 10

struct Parts {
  Qkv in;
  Projection out;
  Dims d;
  std::vector<Sequence> sequences;
  bool residual;
  explicit Parts(Call& call) : in(call), out(call, 20, 11, in.seeds.data[3], 3) {
    const long heads = in.q.out / in.dim, groups = in.k.out / in.dim, sees = call.attribute(15);
    if (heads % groups || out.in != in.q.out || out.out != in.q.in)
      throw std::invalid_argument("attention block: the projections do not fit each other");
    d = {heads, groups, in.dim, in.width, in.width, in.q.out, static_cast<float>(call.attribute(14)),
         sees > 0 ? sees : std::numeric_limits<long>::max(), static_cast<float>(call.attribute(17))};
    residual = call.attribute(18) != 0;
    const auto lengths = call.input<int32_t>(25);
    sequences = sequencesOf(lengths.data, lengths.size, call.attribute(16), in.rows);
  }
};

template <class P>
void forward(Call& call) {
  const Parts m(call);
  const long rows = m.in.rows, hidden = m.in.q.in;
  float* y = call.output(0, m.in.x.shape);
  auto* qkv = keptOutput<P>(call, 1, rows * m.in.width);
  auto* o = keptOutput<P>(call, 2, rows * m.out.in);
  float* lse = call.output(3, {rows, m.d.heads});
  float* uQ = call.output(4, {rows, m.in.q.rank});
  float* uK = call.output(5, {rows, m.in.k.rank});
  float* uV = call.output(6, {rows, m.in.v.rank});
  m.in.forward<P>(staged(qkv, kQkv, rows * m.in.width), qkv, uQ, uK, uV);
  const Packed at(m.d, qkv);
  forwardAll<P>(m.d, m.sequences, at.q, at.k, at.v, o, lse);
  const Shared<P> heads(o, rows, m.out.in, m.out.rate, kO, kPacked);
  project<P>(m.out, heads, call.output(7, {rows, m.out.rank}), {y, hidden, 1, 1, m.residual ? m.in.x.data : nullptr});
}

template <class P>
void backward(Call& call) {
  const Parts m(call);
  const auto lse = call.input<float>(28), uQ = call.input<float>(29), uK = call.input<float>(30), uV = call.input<float>(31),
             uO = call.input<float>(32), y = call.input<float>(33), dy = call.input<float>(34);
  const long rows = m.in.rows, hidden = m.in.q.in;
  const Asked asked(call, 19);
  const QkvGradients d(asked, m.in);
  const ProjectionGradients dOut(asked, 17, m.out);
  using T = typename P::Kept;
  const T *qkv = keptInput<P>(call, 26), *o = keptInput<P>(call, 27);
  const Pulled<P> pulled(m.out, dy.data, hidden, rows, o, uO.data, dOut);
  const Pulled<P>* only[] = {&pulled};
  T* dO = reinterpret_cast<T*>(scratch(kOut, rows * m.out.in));
  if (m.out.rate == 0) pullBack<P>(only, 1, rows, m.out.in, dO);
  else {
    float* sums = scratch(kTurned, rows * m.out.in);
    pullBack<P>(only, 1, rows, m.out.in, sums);
    convertAll(sums, dO, rows * m.out.in);
  }
  outScaleBack(m.out, rows, [&](long i, long j) { return y.data[i * hidden + j] - (m.residual ? m.in.x.data[i * hidden + j] : 0); },
               [&](long i, long j) { return dy.data[i * hidden + j]; }, dOut.l);
  inScaleBack(m.out, rows, o, dO, dOut.l);
  float* straight = scratch(kQkv, rows * m.in.width);
  backwardAll<P>(m.d, m.sequences, qkv, o, lse.data, dO, straight);
  T* turned = reinterpret_cast<T*>(scratch(kTurned, rows * m.in.width));
  m.in.turn(straight, turned, -1);
  m.in.backward<P>(qkv, turned, uQ.data, uK.data, uV.data, d, m.residual ? dy.data : nullptr);
}

void forwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { forward<decltype(p)>(call); });
}

void backwardAny(Call& call) {
  withPrecision(call.attribute(10), [&](auto p) { backward<decltype(p)>(call); });
}

#define INPUTS QKV_INPUTS, PROJECTION_INPUTS(3), "lengths: int32"
#define KEPT "qkv: float", "o: float", "lse: float", "u0: float", "u1: float", "u2: float", "u3: float"
#define ATTRIBUTES QKV_ATTRIBUTES, PROJECTION_ATTRIBUTES(3), "scale: float", "window: int", "prefixed: int", "cap: float", "residual: int"
const Spec spec{"TunebookAttentionBlock", {INPUTS}, {"y: float", KEPT}, {ATTRIBUTES}};
const Spec gradSpec{"TunebookAttentionBlockGrad",
                    {INPUTS, KEPT, "y: float", "dy: float"},
                    {GRADIENTS},
                    {ATTRIBUTES, GRADIENT_ATTRIBUTES}};
const Op<spec, forwardAny> op;
const Op<gradSpec, backwardAny> gradOp;

}  // namespace
}  // namespace tunebook
