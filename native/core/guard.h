// Turns exceptions into statuses at the boundaries they must not cross: threads and tables of C
// functions.
#ifndef SOFTPACK_CORE_GUARD_H_
#define SOFTPACK_CORE_GUARD_H_

#include <new>

#include "core/status.h"

namespace softpack {

// The status of `work()`, or of what it throws.
template <class Work>
int Guarded(Work&& work) noexcept {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return kSoftpackOutOfMemory;
  } catch (...) {
    return kSoftpackFailed;
  }
}

}  // namespace softpack

#endif  // SOFTPACK_CORE_GUARD_H_
