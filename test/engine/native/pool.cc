// The pool of threads on its own: prints a line for each thing that holds. Compiled and run by pool.test.ts.
#include "../../../src/engine/native/pool.h"

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>

using namespace tunebook;

int main() {
  std::printf("threads %d\n", threadCount());
  const auto caller = std::this_thread::get_id();
  for (const bool elsewhere : {true, false}) {
    int caught = 0;
    for (int round = 0; round < 200; round++) {
      std::atomic<bool> thrown{false};
      try {
        parallelFor(64, [&](int, int) {
          const bool here = std::this_thread::get_id() == caller;
          // Whoever does not throw waits, so that the other one has a task.
          if (here != elsewhere && !thrown.exchange(true)) throw std::runtime_error("thrown");
          while (!thrown) std::this_thread::yield();
        });
      } catch (const std::runtime_error&) {
        caught++;
      }
    }
    std::printf("%s %d\n", elsewhere ? "of another thread" : "of the caller", caught);
  }
  // It goes on working, and every task runs once.
  std::atomic<int> runs[1000] = {};
  parallelFor(1000, [&](int i, int) { runs[i]++; });
  int once = 0;
  for (const auto& count : runs) once += count == 1;
  std::printf("tasks %d\n", once);
}
