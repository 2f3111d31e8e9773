// Latent vectors of labels by tensor cores, and how far from the CPU's they may be: version 2 of
// encoding (encode_versions.h).
#ifndef SOFTPACK_CUDA_SPLIT_PROJECT_H_
#define SOFTPACK_CUDA_SPLIT_PROJECT_H_

#include "cuda/nearest.h"
#include "cuda/operation.h"

namespace softpack {

struct SplitShape {
  uint64_t classes;
  uint64_t latent;
  uint64_t width;

  uint64_t segments() const { return latent / width; }
};

struct SplitLatents {
  float* vectors;  // [count, latent]
  float* off;      // [count, segments]: the CPU's segment is so near
};

// All arrays on the device. An array made once per projection, [classes, latent]; and the latents
// of labels [count, classes], which lie in the working memory.
uint64_t SplitProjectionBytes(const SplitShape& shape);
void PrepareSplitProjection(Operation& operation, const SplitShape& shape, const float* projection,
                            void* prepared);
uint64_t SplitWorkBytes(const SplitShape& shape, uint64_t count);
SplitLatents RunSplitProjection(Operation& operation, const SplitShape& shape, const float* labels,
                                uint64_t count, void* prepared, void* work);

// Segments that a search left open, projected and searched as the CPU does (exact_segments.cu).
// `search` has the codebook, and `out` of all segments.
uint64_t ExactWorkBytes(const SplitShape& shape, uint64_t count);
Undecided StartUndecided(Operation& operation, const SplitShape& shape, uint64_t count, void* work);
void RunExactSegments(Operation& operation, const SplitShape& shape, const float* labels,
                      uint64_t count, const float* projection, const NearestParams& search,
                      void* work);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_SPLIT_PROJECT_H_
