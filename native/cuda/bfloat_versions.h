// Which version of `bfloat` decodes: the only place that decides.
//   1  products by mma.sync (bfloat_labels.cu, bfloat.cu): every shape and device
//   2  products by wgmma (bfloat_hopper.cu, bfloat_hopper_loss.cu): the shapes below, by images for
//      9.0a; losses where what blocks exchange fits shared memory too (CountLossClusters)
// Version 2 has never run on a device, so that it is taken where SOFTPACK_CUDA_BFLOAT=2 asks for
// it, and only where it can; bench/cuda.sh measures both.
#ifndef SOFTPACK_CUDA_BFLOAT_VERSIONS_H_
#define SOFTPACK_CUDA_BFLOAT_VERSIONS_H_

#include "core/backend.h"
#include "cpu/value_bound.h"
#include "cuda/bfloat_pack.h"
#include "cuda/device.h"
#include "cuda/wished_version.h"

namespace softpack {

// Whether the module's image for this device has version 2's instructions.
bool HopperImage();

// For a decoder of method `bfloat`, when it is created.
inline int ChooseBfloatVersion(const SoftpackDecoderSpec& spec) {
  using namespace hopper;
  if (WishedVersion("SOFTPACK_CUDA_BFLOAT") < 2 || !HopperImage()) return 1;
  // One codebook of adjacent segments, and nothing added to them.
  const bool segments = spec.bases == nullptr && spec.latent_step == spec.width &&
                        spec.stages * spec.width == spec.latent &&
                        (spec.codebook_stride == 0 || spec.stages == 1);
  const bool fits = spec.classes <= kMostColumns * kTileClasses && spec.stages <= kMostStages &&
                    spec.width < kMostStages && spec.levels <= 65536;
  if (!segments || !fits) return 1;
  const Shape shape = {static_cast<uint32_t>(spec.stages), static_cast<uint32_t>(spec.width),
                       static_cast<uint32_t>(spec.levels), static_cast<uint32_t>(spec.classes)};
  // Padding multiplies elements by zeros: they have to be finite.
  return PlanOf(shape, kLabelQuantities, Facts().shared_bytes).slots > 0 && !MayOverflow(spec) ? 2
                                                                                               : 1;
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_BFLOAT_VERSIONS_H_
