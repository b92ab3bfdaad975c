#include "pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sched.h>
#endif

namespace tunebook {
namespace {

int allowedThreads() {
  if (const char* wanted = std::getenv("TUNEBOOK_THREADS")) {
    const int n = std::atoi(wanted);
    if (n > 0) return n;
  }
  int n = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    long quota = 0, period = 0;
    if (std::fscanf(file, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
      const int share = static_cast<int>((quota + period - 1) / period);
      if (share < n) n = share;
    }
    std::fclose(file);
  }
#endif
  return n > 0 ? n : 1;
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  Pool() : size_(allowedThreads()) {
    for (int i = 1; i < size_; i++) std::thread([this, i] { work(i); }).detach();
  }
  int size() const { return size_; }

  void run(int count, const std::function<void(int, int)>& task) {
    if (count <= 1 || size_ == 1) {
      for (int i = 0; i < count; i++) task(i, 0);
      return;
    }
    task_ = &task;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    open_.store(true);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    drain(0);
    // Whoever is still waking up is not waited for: it finds nothing open.
    open_.store(false);
    while (active_.load()) pause();
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void drain(int thread) {
    try {
      for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) (*task_)(i, thread);
    } catch (...) {
      next_.store(count_, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
    }
  }
  // Ops follow one another within some hundred microseconds while a step runs, so a thread looks for the next one before it sleeps.
  void await(unsigned seen) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::microseconds(300);
    do
      for (int spin = 0; spin < 64; spin++) {
        if (round_.load(std::memory_order_acquire) != seen) return;
        pause();
      }
    while (Clock::now() < end);
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return round_.load(std::memory_order_relaxed) != seen; });
  }
  void work(int thread) {
    for (unsigned seen = 0;;) {
      await(seen);
      seen = round_.load(std::memory_order_acquire);
      // Counted before it looks: who closes the round after that waits for it.
      active_.fetch_add(1);
      if (open_.load()) drain(thread);
      active_.fetch_sub(1);
    }
  }

  const int size_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> round_{0};
  std::atomic<int> next_{0}, active_{0};
  std::atomic<bool> open_{false};
  const std::function<void(int, int)>* task_ = nullptr;
  int count_ = 0;
  std::exception_ptr failure_;
};

// Never destroyed: its threads may still sleep in it when the process exits.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

struct Scratch {
  std::vector<std::pair<float*, size_t>> slots;
  ~Scratch() {
    for (auto& slot : slots) std::free(slot.first);
  }
};

}  // namespace

int threadCount() { return pool().size(); }

void parallelFor(int count, const std::function<void(int, int)>& task) {
  // TensorFlow may run ops of different sessions at once; the pool serves one at a time.
  static std::mutex turn;
  std::lock_guard<std::mutex> lock(turn);
  pool().run(count, task);
}

float* scratch(int slot, size_t floats) {
  thread_local Scratch mine;
  if (static_cast<int>(mine.slots.size()) <= slot) mine.slots.resize(slot + 1, {nullptr, 0});
  auto& [memory, capacity] = mine.slots[slot];
  if (capacity < floats) {
    std::free(memory);
    capacity = floats;
    memory = static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64));
    if (!memory) {
      capacity = 0;
      throw OutOfMemory(floats * sizeof(float));
    }
  }
  return memory;
}

}  // namespace tunebook
