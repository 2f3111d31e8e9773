// Losses of language models' tokens on the device: a divergence over a vocabulary and its gradient,
// a block of threads for each position.
#ifndef SOFTPACK_CUDA_TOKENS_H_
#define SOFTPACK_CUDA_TOKENS_H_

#include "core/device_module.h"
#include "core/scalar_math.h"
#include "cuda/operation.h"
#include "cuda/rows.h"

namespace softpack {

constexpr unsigned kTokenThreads = 256;
constexpr unsigned kTokenWarps = kTokenThreads / kWarp;
constexpr uint64_t kMostEntries = 4096;

// All arrays in one place or another; `type` is that of logits and gradient.
int TokenKl(Operation& operation, const SoftpackTokenLabels& labels,
            const SoftpackDecodeKlArgs& args, uint32_t type);

// Of positions of one chunk; pointers of `labels` are to device memory, from its first position on.
void RunListedTokens(Operation& operation, const SoftpackTokenLabels& labels,
                     const RowTarget& target);
// The same for tails that give every token a probability.
void RunSpreadTokens(Operation& operation, const SoftpackTokenLabels& labels,
                     const RowTarget& target);
// Memory between the steps of hidden states.
struct HiddenWorking {
  float* teacher;    // [positions, columns], logits of a range of tokens
  float* sums;       // [positions, kHiddenSums]
  uint64_t columns;  // a multiple of 64
};
constexpr int kHiddenSums = 8;
void RunHiddenTokens(Operation& operation, const SoftpackTokenLabels& labels,
                     const RowTarget& target, const HiddenWorking& working);

// Of values seen so far: the greatest, and the sum of exp(value - greatest).
struct Peak {
  float most;
  float sum;
};

__device__ inline void Add(Peak& peak, float value) {
  if (value > peak.most) {
    peak.sum = peak.sum * scalar::Exp(peak.most - value) + 1.0f;
    peak.most = value;
  } else if (value <= peak.most) {
    peak.sum += scalar::Exp(value - peak.most);
  } else {
    peak.sum = value;  // NaN, which Exp does not hand on
  }
}

__device__ inline Peak JoinPeaks(const Peak& a, const Peak& b) {
  const float most = Greater(a.most, b.most);
  return {most, a.sum * scalar::Exp(a.most - most) + b.sum * scalar::Exp(b.most - most)};
}

__device__ __forceinline__ float OfLane(float value, int lanes) {
  return __shfl_xor_sync(kFullWarp, value, lanes);
}
__device__ __forceinline__ Peak OfLane(const Peak& peak, int lanes) {
  return {OfLane(peak.most, lanes), OfLane(peak.sum, lanes)};
}

// Combines a value of each thread of a block by `join`, in one order; all threads get the result.
// `shared`: kTokenWarps values of the block's, free for use until the next barrier.
template <class T, class Join>
__device__ __forceinline__ T JoinBlock(T value, T* shared, const Join& join) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    value = join(value, OfLane(value, lanes));
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = shared[0];
  for (unsigned warp = 1; warp < kTokenWarps; ++warp) value = join(value, shared[warp]);
  return value;
}

__device__ __forceinline__ float SumOfBlock(float value, float* shared) {
  return JoinBlock(value, shared, [](float a, float b) { return a + b; });
}
__device__ __forceinline__ float GreatestOfBlock(float value, float* shared) {
  return JoinBlock(value, shared, [](float a, float b) { return Greater(a, b); });
}

// Whether a position counts; if not, its loss and gradient are 0.
__device__ __forceinline__ bool Counts(const SoftpackTokenLabels& labels, const RowTarget& target,
                                       uint64_t position) {
  if (labels.counts == nullptr || labels.counts[position] != 0) return true;
  if (target.losses != nullptr && threadIdx.x == 0) target.losses[position] = 0.0f;
  if (target.gradient == nullptr) return false;
  WithElement(target.logits_type, [&](auto element) {
    for (uint64_t j = threadIdx.x; j < labels.columns; j += kTokenThreads) {
      element.Store(target.gradient, position * labels.columns + j, 0.0f);
    }
  });
  return false;
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_TOKENS_H_
