#include "cpu/buffer.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace softpack {

void AdviseHugePages(void* data, uint64_t bytes) {
#ifdef __linux__
  // Only advice: where it is refused the pages are small and everything else is the same.
  (void)madvise(data, bytes, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

}  // namespace softpack
