#ifndef SOFTPACK_BINDING_EXTERNAL_MEMORY_H_
#define SOFTPACK_BINDING_EXTERNAL_MEMORY_H_

#include <cstdint>

#include "binding/napi_setup.h"

namespace softpack {

// Informs the garbage collector of memory that an object holds outside its heap. Otherwise large
// native tables look like small objects that can wait.
class ExternalMemory {
 public:
  // Cheap if nothing changed.
  void Report(Napi::BasicEnv env, uint64_t bytes) {
    if (bytes == reported_) return;
    const int64_t change = static_cast<int64_t>(bytes) - static_cast<int64_t>(reported_);
    Napi::MemoryManagement::AdjustExternalMemory(env, change);
    reported_ = bytes;
  }

 private:
  uint64_t reported_ = 0;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_EXTERNAL_MEMORY_H_
