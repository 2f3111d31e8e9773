// Second versions of kernels have never run on a device: each is taken only where an environment
// variable asks for it. Which shapes it can serve stands in its own <part>_versions.h.
#ifndef SOFTPACK_CUDA_WISHED_VERSION_H_
#define SOFTPACK_CUDA_WISHED_VERSION_H_

#include <cstdlib>
#include <cstring>

namespace softpack {

// 2 if the environment variable says so, else 1.
inline int WishedVersion(const char* variable) {
  const char* const text = std::getenv(variable);
  return text != nullptr && std::strcmp(text, "2") == 0 ? 2 : 1;
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_WISHED_VERSION_H_
