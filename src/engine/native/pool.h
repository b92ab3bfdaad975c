// One pool of threads for all ops: as many as the process may use (affinity and cgroup quota), or TUNEBOOK_THREADS.
#pragma once
#include <functional>
#include <stdexcept>
#include <string>

namespace tunebook {

struct OutOfMemory : std::runtime_error {
  explicit OutOfMemory(size_t bytes) : std::runtime_error("an op asked for " + std::to_string(bytes >> 20) + " MiB, which the system does not give") {}
};

int threadCount();

// Runs task(index, thread) for index in [0, count). Which thread runs which index is not fixed; an op whose sums depend on
// that split keeps them by index, so that results are the same at every run.
void parallelFor(int count, const std::function<void(int index, int thread)>& task);

// A scratch buffer of the calling thread that lives as long as the thread: recycled memory is mapped once.
float* scratch(int slot, size_t floats);

}  // namespace tunebook
