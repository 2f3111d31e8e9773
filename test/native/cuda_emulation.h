// The part of CUDA that native/cuda uses, emulated on the CPU: tests run every kernel and all host
// code of the backend without a GPU. For tests only; it is slow.
//
// The blocks of a launch run in turn (the blocks of a cluster together); the threads of a block are
// fibers that yield at barriers, at shuffles and in collective instructions, so a barrier that only
// some threads reach is found (the process stops with a message). Shared memory starts as poison.
// Asynchronous instructions of Hopper take as long as they may: bulk copies arrive only when no
// thread can go on without, until when their place is poison, and products of warpgroups are made
// when they are waited for, until when their sums are poison and their operands must not change.
// Built with -fsanitize=thread, each fiber is a separate thread for the sanitizer, and only
// barriers, shuffles and the ends of launches order them: two threads that touch the same memory
// without a barrier between are reported, whatever order they happened to run in.
//
// "Device" memory is ordinary memory on a list, so that kernels fault under the address sanitizer
// and the backend can still distinguish device from host pointers.
// SOFTPACK_EMULATION=<device>[,<option>...] chooses what the runtime reports: `absent` (no driver),
// `ready` (the default, Hopper's kind), `ampere`, or `blackwell`; and
//   image:<v>     the architecture of the kernels' image, 90 or less: instructions that it lacks do
//                 nothing, as in the kernels themselves
//   plain:1       the image is for 9.0 without what 9.0a has besides
//   noimage:<c>   there is none: CUDA error c
//   launch:<n>    from the n-th launch on every call fails with `code:<c>`, an illegal address by
//                 default
//   refuse:<n>    the n-th launch is refused, the next ones go on
//   malloc:<n>    the n-th allocation is out of memory
// There are two devices, alike.
#ifndef SOFTPACK_TESTING_CUDA_EMULATION_H_
#define SOFTPACK_TESTING_CUDA_EMULATION_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace softpack_emulation {

struct Place {
  dim3 thread, block, block_size, grid;
};
const Place& CurrentPlace();
void* CurrentShared();
// All threads of the block, the warp or the cluster.
void BlockBarrier();
void WarpBarrier();
void ClusterBarrier();
// Every lane gives `bytes` (at most 64) and reads those of lane `from`.
void WarpExchange(const void* given, void* taken, size_t bytes, unsigned from);
// mma.m16n8k16 of bfloat16, added to `sums`: every lane gives its words of A and B and receives its
// sums, laid out as in cuda/tensor_core.h.
void WarpMultiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&sums)[4]);
// ldmatrix of four matrices of 8 rows of 16 bytes: lane l gives row l % 8 of matrix l / 8 and
// receives word l % 4 of row l / 4 of each.
void WarpMatrices(const void* row, uint32_t (&words)[4]);
// The shared memory of block `rank` of this cluster, and this block's own rank.
void* ClusterShared(unsigned rank);
unsigned ClusterRank();
unsigned Lane();
// Of the image that kernels come from.
int ImageVersion();
// Whether tensor cores are to round as much as the bounds allow
// (SOFTPACK_EMULATION=ready,coarse:1).
bool CoarseSums();

// Instructions of compute capability 9.0a (cuda/hopper.h), by the PTX manual
// (cuda_emulation_hopper.cc and cuda_emulation_products.cc). Addresses of shared memory begin where
// a device's do.
uint32_t SharedAddress(const void* shared);
void InitBarrier(uint64_t* barrier, uint32_t arrivals);
void PublishBarriers();
// At the barrier's counterpart in block `rank`, which then expects so many bytes more.
void Arrive(uint64_t* barrier, unsigned rank, uint32_t bytes);
void AwaitPhase(const uint64_t* barrier, uint32_t parity);
void CopyBulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier, unsigned blocks);
void PrefetchBulk(const void* global, uint32_t bytes);
void Send(void* place, const void* value, uint32_t bytes, uint64_t* barrier, unsigned rank);
void FenceProducts();
void CommitProducts();
void AwaitProducts(unsigned pending);
void MultiplyWarpgroup(const uint32_t (&a)[4], uint64_t b, float (&sums)[128]);

// What tests see of the runtime: contexts created so far, and waits for a stream or an event.
int Contexts();
int Waits();
// Until the next call, as while a stream of this process is captured: allocations, their ends and
// waits fail.
void Capture(bool on);

int Run(const std::function<void()>& kernel, dim3 grid, dim3 block, size_t shared,
        unsigned cluster);
// Ends the process, and says why.
[[noreturn]] void Stop(const std::string& why);

}  // namespace softpack_emulation

#define threadIdx (softpack_emulation::CurrentPlace().thread)
#define blockIdx (softpack_emulation::CurrentPlace().block)
#define blockDim (softpack_emulation::CurrentPlace().block_size)
#define gridDim (softpack_emulation::CurrentPlace().grid)

inline void __syncthreads() { softpack_emulation::BlockBarrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) { softpack_emulation::WarpBarrier(); }

template <class T>
T __shfl_sync(unsigned, T value, unsigned lane) {
  T taken;
  softpack_emulation::WarpExchange(&value, &taken, sizeof value, lane & 31);
  return taken;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned lanes) {
  return __shfl_sync(mask, value, softpack_emulation::Lane() ^ lanes);
}

inline unsigned __ballot_sync(unsigned mask, int holds) {
  unsigned bits = holds ? 1u << softpack_emulation::Lane() : 0;
  for (unsigned lanes = 16; lanes > 0; lanes /= 2) bits |= __shfl_xor_sync(mask, bits, lanes);
  return bits;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline unsigned atomicMax(unsigned* at, unsigned value) {
  unsigned old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (old < value &&
         !__atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
inline unsigned atomicAdd(unsigned* at, unsigned value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline unsigned atomicOr(unsigned* at, unsigned value) {
  return __atomic_fetch_or(at, value, __ATOMIC_RELAXED);
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
T __ldcs(const T* at) {
  return *at;
}
template <class T>
void __stcs(T* at, T value) {
  *at = value;
}

// ---- The runtime ----------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorIllegalAddress = 700,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaMemoryType {
  cudaMemoryTypeUnregistered,
  cudaMemoryTypeHost,
  cudaMemoryTypeDevice,
  cudaMemoryTypeManaged
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributeNonPortableClusterSizeAllowed = 14
};
struct cudaFuncAttributes {
  int ptxVersion;
  int maxThreadsPerBlock;
};
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
  int l2CacheSize;
};
struct EmulatedStream;
struct EmulatedEvent;
using cudaStream_t = EmulatedStream*;
using cudaEvent_t = EmulatedEvent*;
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDisableTiming = 2;
constexpr unsigned cudaEventBlockingSync = 1;

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetLastError();
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
// Replaces cudaLaunchKernelExC.
cudaError_t EmulatedLaunch(const std::function<void()>& kernel, dim3 grid, dim3 block,
                           size_t shared, unsigned cluster, const void* address);

#endif  // SOFTPACK_TESTING_CUDA_EMULATION_H_
