// bitsandbytes' 256 values for numbers of 8 bits (Dettmers et al., 2022, https://arxiv.org/abs/2110.02861), ascending: 0, 1, and for every
// power of ten down to 10^-6 twice as many steps as for the one below; mirrored where they are signed. Rounded as torch makes them.
#pragma once
#include <algorithm>
#include <cmath>

namespace tunebook {

struct DynamicMap {
  float values[256];
  explicit DynamicMap(bool isSigned) {
    int n = 0;
    values[n++] = 0;
    values[n++] = 1;
    for (int i = 0; i < 7; i++) {
      const int steps = isSigned ? 1 << i : 2 << i;
      const float step = (1.0f - 0.1f) / steps;
      // As torch.linspace: from the nearer end, rounded once.
      const auto edge = [&](float k) { return k < (steps + 1) / 2 ? std::fma(step, k, 0.1f) : std::fma(-step, steps - k, 1.0f); };
      for (int k = 0; k < steps; k++) {
        const float value = static_cast<float>(std::pow(10.0, i - 6)) * ((edge(k) + edge(k + 1)) / 2);
        values[n++] = value;
        if (isSigned) values[n++] = -value;
      }
    }
    std::sort(values, values + 256);
  }
};

inline const DynamicMap kSignedMap(true);

}  // namespace tunebook
