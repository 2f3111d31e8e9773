#ifndef SOFTPACK_BINDING_EXTERNAL_MEMORY_H_
#define SOFTPACK_BINDING_EXTERNAL_MEMORY_H_

#include <cstdint>

#include "binding/napi_setup.h"

namespace softpack {

// What the garbage collector has been told that an object holds outside its heap. Without it, large
// native tables look like small objects that may wait.
class ExternalMemory {
 public:
  // Tells of a change; cheap if there is none.
  void Tell(Napi::BasicEnv env, uint64_t bytes) {
    if (bytes == told_) return;
    const int64_t change = static_cast<int64_t>(bytes) - static_cast<int64_t>(told_);
    Napi::MemoryManagement::AdjustExternalMemory(env, change);
    told_ = bytes;
  }

 private:
  uint64_t told_ = 0;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_EXTERNAL_MEMORY_H_
