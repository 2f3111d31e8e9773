#include "cpu/buffer.h"

#include <atomic>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace softpack {
namespace {

std::atomic<int64_t> buffer_bytes{0};

}  // namespace

uint64_t BufferBytes() { return static_cast<uint64_t>(buffer_bytes.load()); }

void CountBufferBytes(int64_t change) {
  if (change != 0) buffer_bytes.fetch_add(change, std::memory_order_relaxed);
}

void AdviseHugePages(void* data, uint64_t bytes) {
#ifdef __linux__
  // Only advice: if it is refused, the pages are small and nothing else changes.
  (void)madvise(data, bytes, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

void AdviseLargeOutput(void* data, uint64_t bytes) {
  constexpr uint64_t kLarge = uint64_t{4} << 20;
  constexpr uintptr_t kPage = 4096;
  if (bytes < kLarge) return;
  // Advice is for whole pages.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kPage - 1);
  AdviseHugePages(reinterpret_cast<void*>(begin), end - begin);
}

}  // namespace softpack
