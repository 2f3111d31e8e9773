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

template <class Params>
cudaError_t MostClusters(void (*)(Params), const LaunchShape&, int* clusters) {
  *clusters = 2;
  return cudaSuccess;
}

#else

// All shared memory is dynamic: a kernel lays it out itself.
template <class T>
__device__ __forceinline__ T* SharedMemory() {
  extern __shared__ __align__(16) unsigned char softpack_shared_memory[];
  return reinterpret_cast<T*>(softpack_shared_memory);
}

// What CUDA calls a shape; `attribute` has to outlive it.
inline cudaLaunchConfig_t ConfigOf(const LaunchShape& shape, cudaLaunchAttribute& attribute) {
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  if (shape.cluster > 1) {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = shape.cluster;
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  return config;
}

// A kernel takes one struct.
template <class Params>
cudaError_t Launch(void (*kernel)(Params), const LaunchShape& shape, cudaStream_t stream,
                   Params params) {
  cudaLaunchAttribute attribute = {};
  cudaLaunchConfig_t config = ConfigOf(shape, attribute);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, params);
}

// Clusters of this shape that the device runs at once.
template <class Params>
cudaError_t MostClusters(void (*kernel)(Params), const LaunchShape& shape, int* clusters) {
  cudaLaunchAttribute attribute = {};
  const cudaLaunchConfig_t config = ConfigOf(shape, attribute);
  return cudaOccupancyMaxActiveClusters(clusters, kernel, &config);
}

#endif

// The most threads of a block that a kernel of this device's image allows.
template <class Params>
cudaError_t MostThreads(void (*kernel)(Params), int* threads) {
  cudaFuncAttributes attributes = {};
  const cudaError_t error =
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel));
  *threads = attributes.maxThreadsPerBlock;
  return error;
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_PLATFORM_H_
