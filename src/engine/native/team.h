// Threads of the pool that go through the same steps together: they wait for each other inside an op, where a round of the pool for every
// step would cost more than the step.
#pragma once
#include <atomic>
#include <thread>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tunebook {

class Barrier {
 public:
  explicit Barrier(int size) : size_(size) {}
  void wait() {
    if (size_ == 1) return;
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1);
      if (sleeping_.load()) futex(FUTEX_WAKE_PRIVATE, size_);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; spins++) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      // Who is waited for may have no processor.
      if (spins > 8192) {
        sleeping_.fetch_add(1);
        futex(FUTEX_WAIT_PRIVATE, round);
        sleeping_.fetch_sub(1);
      }
    }
  }

 private:
#if defined(__linux__)
  void futex(int what, unsigned value) { syscall(SYS_futex, reinterpret_cast<unsigned*>(&round_), what, value, nullptr, nullptr, 0); }
#else
  enum { FUTEX_WAKE_PRIVATE, FUTEX_WAIT_PRIVATE };
  void futex(int what, unsigned) {
    if (what == FUTEX_WAIT_PRIVATE) std::this_thread::yield();
  }
#endif

  const int size_;
  alignas(64) std::atomic<int> waiting_{0};
  alignas(64) std::atomic<unsigned> round_{0};
  std::atomic<int> sleeping_{0};
};

}  // namespace tunebook
