// What LLM.int8() makes of a layer's input; see int8_inputs.ts.
#include <algorithm>
#include <cmath>

#include "../native/op.h"
#include "../native/simd.h"

namespace tunebook {
namespace {

void run(Call& call) {
  const auto x = call.input<float>(0);
  const float threshold = call.attribute(0);
  const int64_t rows = x.rows(), columns = x.dim(-1);
  float* y = call.output(0, x.shape);
  for (int64_t i = 0; i < x.size; i++) y[i] = halfToFloat(floatToHalf(x.data[i]));
  std::vector<char> outlier(columns);
  if (threshold > 0)
    for (int64_t i = 0; i < x.size; i++)
      if (std::fabs(y[i]) >= threshold) outlier[i % columns] = 1;
  parallelFor(static_cast<int>(rows), [&](int r, int) {
    const float* from = x.data + r * columns;
    float *line = y + r * columns, largest = 0;
    // An outlier does not count; others of its column do, though they are kept as they are too.
    for (int64_t k = 0; k < columns; k++)
      if (threshold <= 0 || std::fabs(line[k]) < threshold) largest = std::max(largest, std::fabs(line[k]));
    const float factor = largest ? 1 / largest * 127 : 0, back = largest / 127;
    for (int64_t k = 0; k < columns; k++) line[k] = outlier[k] ? from[k] : std::nearbyint(line[k] * factor) * back;
  });
}

const Spec spec{"TunebookInt8Inputs", {"x: float"}, {"y: float"}, {"threshold: float"}};
const Op<spec, run> op;

}  // namespace
}  // namespace tunebook
