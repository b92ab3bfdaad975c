// Root mean square norm; see ops/rms_norm.ts.
#pragma once
#include "elementwise.h"

namespace tunebook {

inline float rmsScale(const float* x, long dim, float eps) { return 1.0f / std::sqrt(dot(x, x, dim) / dim + eps); }

template <class T>
inline void rmsNormRow(const float* x, const float* weight, long dim, float eps, T* y) {
  const float scale = rmsScale(x, dim, eps);
  for (long j = 0; j < dim; j += kLanes) {
    const int part = std::min<long>(kLanes, dim - j);
    put(y + j, some(x + j, part) * scale * some(weight + j, part), part);
  }
}

// dx = beside + s (w dy) - x s^3 / dim * sum(w dy x), with s the inverse root; beside may be null.
inline void rmsNormRowBack(const float* x, const float* weight, const float* dy, long dim, float eps, const float* beside, float* dx) {
  const float scale = rmsScale(x, dim, eps);
  Vec sums{};
  long j = 0;
  for (; j + kLanes <= dim; j += kLanes) sums += load(dy + j) * load(weight + j) * load(x + j);
  float projection = sum(sums);
  for (; j < dim; j++) projection += dy[j] * weight[j] * x[j];
  projection *= scale * scale * scale / dim;
  for (j = 0; j < dim; j += kLanes) {
    const int part = std::min<long>(kLanes, dim - j);
    const Vec own = some(dy + j, part) * some(weight + j, part) * scale - some(x + j, part) * projection;
    put(dx + j, beside ? some(beside + j, part) + own : own, part);
  }
}

// The same for all rows, on all threads.
template <class T>
inline void rmsNormRows(const float* x, const float* weight, long rows, long dim, float eps, T* y) {
  forRows(rows, dim, [&](long i) { rmsNormRow(x + i * dim, weight, dim, eps, y + i * dim); });
}

inline void rmsNormRowsBack(const float* x, const float* weight, const float* dy, long rows, long dim, float eps, const float* beside, float* dx) {
  forRows(rows, dim, [&](long i) {
    rmsNormRowBack(x + i * dim, weight, dy + i * dim, dim, eps, beside ? beside + i * dim : nullptr, dx + i * dim);
  });
}

// The gradient of the norm's weight: the sum over rows of dy x s, with s the inverse root.
inline void rmsNormGain(const float* x, const float* dy, long rows, long dim, float eps, float* dweight) {
  float* scales = scratch(0, rows);
  for (long i = 0; i < rows; i++) scales[i] = rmsScale(x + i * dim, dim, eps);
  sumOverRows(rows, dim, [&](long i, long j) { return dy[i * dim + j] * x[i * dim + j] * scales[i]; }, dweight);
}

// x's gradient and the weight's, where somebody wants them.
inline void rmsNormBack(const float* x, const float* weight, const float* dy, long rows, long dim, float eps, const float* beside, float* dx,
                        float* dweight) {
  if (dweight) rmsNormGain(x, dy, rows, dim, eps, dweight);
  if (dx) rmsNormRowsBack(x, weight, dy, rows, dim, eps, beside, dx);
}

}  // namespace tunebook
