// Blocks of a cluster (Hopper): a barrier for all of them, and reading each other's shared memory.
// Kernels that use them do nothing on older devices, and are not launched there.
#ifndef SOFTPACK_CUDA_CLUSTER_H_
#define SOFTPACK_CUDA_CLUSTER_H_

#include "cuda/platform.h"

namespace softpack {

// The most blocks that any Hopper device runs as one cluster.
constexpr unsigned kMostClusterBlocks = 8;
// First architecture with clusters. Older PTX has none on any device.
constexpr int kClusterCapability = 90;

#ifdef SOFTPACK_CUDA_EMULATION

inline void ClusterSync() {
  if (softpack_emulation::ImageVersion() >= kClusterCapability)
    softpack_emulation::ClusterBarrier();
}

// The counterpart, in block `rank` of the cluster, of this block's `mine`.
inline float ReadOfCluster(const float* mine, unsigned rank) {
  if (softpack_emulation::ImageVersion() < kClusterCapability) return 0.0f;
  const char* const here = static_cast<const char*>(softpack_emulation::CurrentShared());
  const char* const there = static_cast<const char*>(softpack_emulation::ClusterShared(rank));
  return *reinterpret_cast<const float*>(there + (reinterpret_cast<const char*>(mine) - here));
}

#else

// Also orders what was written to shared memory before it against what is read after it.
__device__ __forceinline__ void ClusterSync() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
#endif
}

__device__ __forceinline__ float ReadOfCluster(const float* mine, unsigned rank) {
  float value = 0.0f;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const uint32_t here = static_cast<uint32_t>(__cvta_generic_to_shared(mine));
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
#endif
  return value;
}

#endif

}  // namespace softpack

#endif  // SOFTPACK_CUDA_CLUSTER_H_
