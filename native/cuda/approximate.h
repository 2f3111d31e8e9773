// Powers and logarithms by the special function units, for results whose products are rounded to
// bfloat16 anyway: 2^-22 of relative error (PTX ISA, ex2.approx and lg2.approx), where
// scalar_math.h is exact to the last place or two. An instruction for 12 to 15, of which a
// multiprocessor carries out 16 lanes a cycle.
#ifndef SOFTPACK_CUDA_APPROXIMATE_H_
#define SOFTPACK_CUDA_APPROXIMATE_H_

#include <cmath>

#include "cuda/platform.h"

namespace softpack {

// 2^x; as scalar::Exp2 never below 2^-125, which is also its value of NaN.
__device__ __forceinline__ float ApproximateExp2(float x) {
  x = x > -125.0f ? x : -125.0f;
#ifdef SOFTPACK_CUDA_EMULATION
  return std::exp2(x);
#else
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
#endif
}

// log2(1024 x) of x >= 0, finite for 0; near 1/1024 of an absolute error of 2^-22.
__device__ __forceinline__ float ApproximateLog2Of1024(float x) {
  x = fmaf(x, 1024.0f, 1e-36f);
#ifdef SOFTPACK_CUDA_EMULATION
  return std::log2(x);
#else
  float log;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log) : "f"(x));
  return log;
#endif
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_APPROXIMATE_H_
