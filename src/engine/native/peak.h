// How many operations a second this CPU reaches in registers alone, on all threads of the pool: what the bench divides by.
#pragma once
#include <chrono>

#include "element.h"
#include "pool.h"

namespace tunebook {

template <class P>
double peakGflops(double seconds) {
  constexpr int kSums = 10, rounds = 200'000;  // more than a multiply-add's latency times the CPU's units for it
  using Clock = std::chrono::steady_clock;
  double best = 0;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    const auto start = Clock::now();
    parallelFor(threadCount(), [&](int, int) {
      // Each sum starts elsewhere, or the compiler would see that all of them are one.
      Vec acc[kSums];
      typename P::V left{}, right{};
      unrolled<kSums>([&](auto i) INLINE { pin(acc[i] = splat(i)); });
      for (int i = 0; i < rounds; i++) {
        pin(left);
        pin(right);
        unrolled<kSums>([&](auto s) INLINE { P::multiplyAdd(acc[s], left, right); });
      }
      Vec total{};
      unrolled<kSums>([&](auto s) INLINE { total += acc[s]; });
      asm volatile("" : : "m"(total));
    });
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * P::kPack * kLanes * kSums * rounds * threadCount() / took / 1e9);
  }
  return best;
}

}  // namespace tunebook
