// TensorFlow's libraries touch 240 MiB of their own file while they register what this process never uses. Pages that
// nobody can have written are handed back to the system; what is needed again comes from its cache at the next touch.
#pragma once
#if defined(__linux__)
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#endif

namespace tunebook {

inline void trimLibraries() {
#if defined(__GLIBC__)
  malloc_trim(0);  // and what was freed, which the C library keeps
#endif
#if defined(__linux__)
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void*) {
        if (!std::strstr(info->dlpi_name, "libtensorflow")) return 0;
        const uintptr_t page = sysconf(_SC_PAGESIZE);
        for (int i = 0; i < info->dlpi_phnum; i++) {
          const auto& segment = info->dlpi_phdr[i];
          // Relocations are written into writable segments alone.
          if (segment.p_type != PT_LOAD || segment.p_flags & PF_W) continue;
          const uintptr_t from = (info->dlpi_addr + segment.p_vaddr + page - 1) / page * page;
          const uintptr_t to = (info->dlpi_addr + segment.p_vaddr + segment.p_memsz) / page * page;
          if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
        }
        return 0;
      },
      nullptr);
#endif
}

}  // namespace tunebook
