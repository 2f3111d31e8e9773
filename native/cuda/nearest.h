#ifndef SOFTPACK_CUDA_NEAREST_H_
#define SOFTPACK_CUDA_NEAREST_H_

#include "cuda/operation.h"

namespace softpack {

// Whether a codeword is better than the best so far: nearer, or as near with a lower index.
struct Candidate {
  float score;
  uint32_t index;
};
__host__ __device__ inline bool IsBetter(const Candidate& one, const Candidate& other) {
  return one.score < other.score || (one.score == other.score && one.index < other.index);
}

// All arrays on the device; half_norms has room for `levels` floats.
struct NearestParams {
  const float* vectors;   // [count, width]
  const float* codebook;  // [levels, width]
  const float* half_norms;
  uint16_t* out;
  uint64_t count;
  uint64_t width;
  uint64_t levels;
  // If not null: only *list_count vectors, whose indices go to out[list[0]], out[list[1]], ...
  const uint32_t* list = nullptr;
  const uint32_t* list_count = nullptr;
};

void RunHalfNorms(Operation& operation, const float* codebook, uint64_t levels, uint64_t width,
                  float* half_norms);
void RunNearest(Operation& operation, const NearestParams& params);

// The same indices by tensor cores (nearest_tensor.cu), if available: from an array made once per
// codebook, with working memory for `count` vectors.
bool TensorNearestFits(uint64_t width, uint64_t levels);
uint64_t TensorNearestBytes(uint64_t width, uint64_t levels);
void PrepareTensorNearest(Operation& operation, const NearestParams& params, void* prepared);
uint64_t TensorNearestWorkBytes(uint64_t count, uint64_t width);
void RunTensorNearest(Operation& operation, const NearestParams& params, void* prepared,
                      void* work);

int Nearest(const SoftpackNearestArgs* args);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_NEAREST_H_
