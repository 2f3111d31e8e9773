// Which version of encoding an encoder takes: the only place that decides.
//   1  the projection in float32 as on the CPU (project.cu): every shape and device
//   2  the projection on tensor cores (split_project.cu), and float32 for segments that its bound
//      leaves undecided (exact_segments.cu): from 8.0 on, of the shapes below
// The codes are the CPU's of both. Version 2 has never run on a device, so that it is taken where
// SOFTPACK_CUDA_ENCODE=2 asks for it, and only where it can; bench/cuda.sh measures both.
#ifndef SOFTPACK_CUDA_ENCODE_VERSIONS_H_
#define SOFTPACK_CUDA_ENCODE_VERSIONS_H_

#include "core/backend.h"
#include "cuda/device.h"
#include "cuda/wished_version.h"

namespace softpack {

// For an encoder, when it is created.
inline int ChooseEncodeVersion(const SoftpackEncoderSpec& spec) {
  constexpr int kBfloatCapability = 80;
  // Shorter segments have so many codewords that are nearly as near that too many stay undecided.
  constexpr uint64_t kLeastWidth = 8;
  // For what is rounded in bounds (split_project.cu, certainty.h).
  constexpr uint64_t kMostWidth = 4096, kMostClasses = 65536;
  if (WishedVersion("SOFTPACK_CUDA_ENCODE") < 2 || Facts().instructions < kBfloatCapability)
    return 1;
  const bool fits = spec.width >= kLeastWidth && spec.width <= kMostWidth && spec.classes > 0 &&
                    spec.classes <= kMostClasses;
  return fits ? 2 : 1;
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_ENCODE_VERSIONS_H_
