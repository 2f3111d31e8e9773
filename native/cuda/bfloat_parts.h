// A float32 as the sum of two bfloat16 and what is left: x = x1 + x2 + r, |x2| <= 2^-8 |x|, |r| <=
// 2^-16 |x|. Proofs of what products of parts leave out measure the lengths of x2 and r.
#ifndef SOFTPACK_CUDA_BFLOAT_PARTS_H_
#define SOFTPACK_CUDA_BFLOAT_PARTS_H_

#include "core/scalar_math.h"
#include "cuda/platform.h"

namespace softpack {

struct BfloatParts {
  uint32_t high;
  uint32_t low;

  // Exact: r is a float32.
  __device__ float Rest(float value) const {
    return value - scalar::FloatOf(high << 16) - scalar::FloatOf(low << 16);
  }
};
__device__ inline BfloatParts PartsOf(float value) {
  const uint32_t high = scalar::FloatToBfloat(value);
  return {high, scalar::FloatToBfloat(value - scalar::FloatOf(high << 16))};
}

// Squared lengths of a vector, of its low parts and of what is left of it.
template <class T>
struct PartSquares {
  T whole;
  T low;
  T rest;

  __device__ void Add(float value, const BfloatParts& parts) {
    const T all = value, second = scalar::FloatOf(parts.low << 16), left = parts.Rest(value);
    whole += all * all;
    low += second * second;
    rest += left * left;
  }
};

template <int kLanes>
__device__ inline void AddLanes(PartSquares<float>& squares) {
#pragma unroll
  for (unsigned lanes = kLanes / 2; lanes > 0; lanes /= 2) {
    squares.whole += __shfl_xor_sync(0xffffffffu, squares.whole, lanes);
    squares.low += __shfl_xor_sync(0xffffffffu, squares.low, lanes);
    squares.rest += __shfl_xor_sync(0xffffffffu, squares.rest, lanes);
  }
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_BFLOAT_PARTS_H_
