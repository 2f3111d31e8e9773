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

// That of the lane whose number differs in these bits.
__device__ inline Candidate FromLane(const Candidate& own, unsigned lanes) {
  return {__shfl_xor_sync(0xffffffffu, own.score, lanes),
          __shfl_xor_sync(0xffffffffu, own.index, lanes)};
}

// The best of some codewords, and the least score of all others.
struct Margin {
  Candidate best;
  float second;

  __device__ void Add(const Candidate& other) {
    second = fminf(second, fmaxf(best.score, other.score));
    if (IsBetter(other, best)) best = other;
  }
  __device__ void MergeLanes(unsigned lanes) {
    const Candidate other = FromLane(best, lanes);
    const float other_second = __shfl_xor_sync(0xffffffffu, second, lanes);
    Add(other);
    second = fminf(second, other_second);
  }
};

// Vectors whose codeword the search has to leave open, by their place in a label: vector `row` is
// segment row % segments of label row / segments.
struct Undecided {
  uint32_t* counts;  // [segments]
  uint32_t* labels;  // [segments, capacity]
  uint32_t segments;
  uint32_t capacity;

  __device__ void Add(uint64_t row) const {
    const uint32_t label = static_cast<uint32_t>(row) / segments;
    const uint32_t segment = static_cast<uint32_t>(row) % segments;
    const uint64_t place = atomicAdd(counts + segment, 1u);
    labels[uint64_t{segment} * capacity + place] = label;
  }
};

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
  // If not null: the CPU's vectors are within so much of these, [count]; those whose index this
  // leaves open go to `undecided`, and `out` has no index of theirs.
  const float* off = nullptr;
  Undecided undecided = {};
};

void RunHalfNorms(Operation& operation, const float* codebook, uint64_t levels, uint64_t width,
                  float* half_norms);
void RunNearest(Operation& operation, const NearestParams& params);

// The same indices by tensor cores (nearest_tensor.cu), if available: from an array made once per
// codebook, with working memory for `count` vectors unless `off` is given.
bool TensorNearestFits(uint64_t width, uint64_t levels);
uint64_t TensorNearestBytes(uint64_t width, uint64_t levels);
void PrepareTensorNearest(Operation& operation, const NearestParams& params, void* prepared);
uint64_t TensorNearestWorkBytes(uint64_t count, uint64_t width);
void RunTensorNearest(Operation& operation, const NearestParams& params, void* prepared,
                      void* work);

int Nearest(const SoftpackNearestArgs* args);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_NEAREST_H_
