// CUDA, or its emulation in tests on the CPU (cuda_emulation.h): the only place where the two
// differ.
#ifndef SOFTPACK_CUDA_PLATFORM_H_
#define SOFTPACK_CUDA_PLATFORM_H_

#include <cstddef>
#include <cstdint>

#ifdef SOFTPACK_CUDA_EMULATION
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>
#endif

namespace softpack {

__device__ inline float Infinity() { return __uint_as_float(0x7f800000u); }

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared = 0;     // bytes
  unsigned cluster = 1;  // blocks, along x
};

#ifdef SOFTPACK_CUDA_EMULATION

template <class T>
T* SharedMemory() {
  return static_cast<T*>(softpack_emulation::CurrentShared());
}

template <class Params>
cudaError_t Launch(void (*kernel)(Params), const LaunchShape& shape, cudaStream_t,
                   const Params& params) {
  return EmulatedLaunch([&] { kernel(params); }, shape.grid, shape.block, shape.shared,
                        shape.cluster, reinterpret_cast<const void*>(kernel));
}

#else

// All shared memory is dynamic: a kernel lays it out itself.
template <class T>
__device__ __forceinline__ T* SharedMemory() {
  extern __shared__ __align__(16) unsigned char softpack_shared_memory[];
  return reinterpret_cast<T*>(softpack_shared_memory);
}

// A kernel takes one struct.
template <class Params>
cudaError_t Launch(void (*kernel)(Params), const LaunchShape& shape, cudaStream_t stream,
                   Params params) {
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  if (shape.cluster > 1) {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = shape.cluster;
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  return cudaLaunchKernelEx(&config, kernel, params);
}

#endif

}  // namespace softpack

#endif  // SOFTPACK_CUDA_PLATFORM_H_
