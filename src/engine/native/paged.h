// Memory that the system may write out and read back: a mapping of a file that has no name any more.
#pragma once
#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace tunebook {

// Zeros. `folder`: where the file is, without a name.
inline void* mapPaged(const std::string& folder, size_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
  const auto fail = [&](const char* what) {
    throw std::runtime_error("paged memory: " + std::string(what) + " of " + std::to_string(bytes >> 20) + " MiB in '" + folder + "' failed: " + std::strerror(errno));
  };
  std::string path = folder + "/.tunebook-paged-XXXXXX";
  const int file = mkstemp(path.data());
  if (file < 0) fail("a file");
  unlink(path.c_str());
#if defined(__linux__)
  // Now, not when a page is written: then a full disk would end the process.
  if ((errno = posix_fallocate(file, 0, bytes))) {
    close(file);
    fail("a file");
  }
#else
  if (ftruncate(file, bytes)) {
    close(file);
    fail("a file");
  }
#endif
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) fail("a mapping");
  return memory;
#else
  throw std::runtime_error("paged memory is not to be had on this system: choose an optimizer that is not paged");
#endif
}

// Zeros that take no memory while they are only read; null where there is no room.
inline void* mapZeros(size_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
#else
  throw std::runtime_error("zeros that take no memory are not to be had on this system");
#endif
}

inline void unmapPaged([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
  munmap(memory, bytes);
#endif
}

}  // namespace tunebook
