// Threads of the pool that go through the same steps together: they wait for each other inside an op, where a round of the pool for every
// step would cost more than the step.
#pragma once
#include <atomic>
#if defined(__linux__)
#include <sched.h>
#endif

namespace tunebook {

class Barrier {
 public:
  explicit Barrier(int size) : size_(size) {}
  void wait() {
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; spins++) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
#if defined(__linux__)
      if (spins > 4096) sched_yield();  // who is waited for may have no processor
#endif
    }
  }

 private:
  const int size_;
  alignas(64) std::atomic<int> waiting_{0};
  alignas(64) std::atomic<unsigned> round_{0};
};

}  // namespace tunebook
