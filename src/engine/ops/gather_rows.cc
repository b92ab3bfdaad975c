// sum[places[i]] += rows[i], in place: the gradient of chosen rows; see gather_rows.ts.
#include <stdexcept>
#include <string>

#include "../native/many.h"
#include "../native/simd.h"

namespace tunebook {
namespace {

void addRows(Call& call) {
  const Many<> sum(call, 0, 1);
  const auto places = call.input<int32_t>(1);
  const auto rows = call.input<float>(2);
  const long dim = rows.dim(-1), count = sum.size(0) / dim;
  if (rows.size != places.size * dim || sum.size(0) != count * dim) throw std::invalid_argument("addRows: the shapes do not fit");
  for (int64_t i = 0; i < places.size; i++) {
    const int32_t place = places.data[i];
    if (place < 0 || place >= count)
      throw std::invalid_argument("addRows: row " + std::to_string(place) + " is not in [0, " + std::to_string(count) + ")");
    axpy(1, rows.data + i * dim, sum[0] + place * dim, dim);
  }
}

const Spec spec{"TunebookAddRows", {"sum: float", "places: int32", "rows: float"}, {}, {}};
const Op<spec, addRows> op;

}  // namespace
}  // namespace tunebook
