// Instructions of compute capability 9.0 and newer, where SOFTPACK_CLUSTERS says that they are:
// barriers that count bytes, bulk copies and stores to blocks of a cluster. And of 9.0a alone,
// where SOFTPACK_HOPPER does: products of four warps with an operand in shared memory. Without CUDA
// each has a twin that follows the PTX manual (test/native/cuda_emulation_hopper.cc); images for
// other architectures have none of them.
#ifndef SOFTPACK_CUDA_HOPPER_H_
#define SOFTPACK_CUDA_HOPPER_H_

#include "cuda/cluster.h"
#include "cuda/platform.h"

#if defined(SOFTPACK_CUDA_EMULATION) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define SOFTPACK_CLUSTERS 1
#endif
#if defined(SOFTPACK_CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SOFTPACK_HOPPER 1
#endif

namespace softpack {

constexpr int kWarpgroup = 128;       // threads
constexpr int kProductColumns = 256;  // of a warpgroup's product: 64 rows by 256 columns by 16
constexpr int kProductSums = kProductColumns / 2;  // of a thread
// Alignment of a tile whose rows of 128 bytes are swizzled: 8 of them.
constexpr int kSwizzledBytes = 1024;

// A thread's sums of a product m64n256k16 (PTX ISA, "Register fragments for wgmma"): warp w of the
// four has rows 16 w to 16 w + 15, and sum 4 j + i of a lane lies where sum i of mma.m16n8k16 does,
// 8 j columns on. Words of A lie as for mma.m16n8k16 (PlaceInA).

// Descriptor of B in shared memory ("Matrix-descriptor format"): rows of B^T of 64 elements, 128
// bytes, swizzled; 8 rows, 1,024 bytes, from one group to the next. 16 elements on are 2 more.
__host__ __device__ inline uint64_t SwizzledDescriptor(uint32_t shared_address) {
  constexpr uint64_t kUnused = 1, kSwizzle128 = 1;
  constexpr uint64_t kStride = kSwizzledBytes >> 4;
  return (shared_address & 0x3ffffu) >> 4 | kUnused << 16 | kStride << 32 | kSwizzle128 << 62;
}

#ifdef SOFTPACK_CUDA_EMULATION

inline uint32_t SharedAddress(const void* shared) {
  return softpack_emulation::SharedAddress(shared);
}
inline unsigned char* SwizzledSharedMemory() { return SharedMemory<unsigned char>(); }
inline unsigned ClusterRank() { return softpack_emulation::ClusterRank(); }
inline void InitBarrier(uint64_t* barrier, uint32_t arrivals) {
  softpack_emulation::InitBarrier(barrier, arrivals);
}
inline void PublishBarriers() { softpack_emulation::PublishBarriers(); }
inline void ArriveExpecting(uint64_t* barrier, uint32_t bytes) {
  softpack_emulation::Arrive(barrier, softpack_emulation::ClusterRank(), bytes);
}
inline void ArriveAt(uint64_t* barrier, unsigned rank) {
  softpack_emulation::Arrive(barrier, rank, 0);
}
inline void AwaitPhase(uint64_t* barrier, uint32_t parity) {
  softpack_emulation::AwaitPhase(barrier, parity);
}
inline void AwaitSent(uint64_t* barrier, uint32_t parity) {
  softpack_emulation::AwaitPhase(barrier, parity);
}
inline void CopyBulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  softpack_emulation::CopyBulk(shared, global, bytes, barrier,
                               1u << softpack_emulation::ClusterRank());
}
inline void CopyBulkToBlocks(void* shared, const void* global, uint32_t bytes, uint64_t* barrier,
                             uint16_t blocks) {
  softpack_emulation::CopyBulk(shared, global, bytes, barrier, blocks);
}
inline void PrefetchBulk(const void* global, uint32_t bytes) {
  softpack_emulation::PrefetchBulk(global, bytes);
}
inline void SendFloat(float* place, float value, uint64_t* barrier, unsigned rank) {
  softpack_emulation::Send(place, &value, sizeof value, barrier, rank);
}
inline void SendWords(uint4* place, const uint4& words, uint64_t* barrier, unsigned rank) {
  softpack_emulation::Send(place, &words, sizeof words, barrier, rank);
}
inline void FenceProducts() { softpack_emulation::FenceProducts(); }
inline void CommitProducts() { softpack_emulation::CommitProducts(); }
template <int kPending>
inline void AwaitProducts() {
  softpack_emulation::AwaitProducts(kPending);
}
inline void MultiplyWarpgroup(const uint32_t (&a)[4], uint64_t b, float (&sums)[kProductSums]) {
  softpack_emulation::MultiplyWarpgroup(a, b, sums);
}
template <int kRegisters>
inline void ReleaseRegisters() {}
template <int kRegisters>
inline void ClaimRegisters() {}

#elif defined(SOFTPACK_CLUSTERS)

__device__ __forceinline__ uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// The block's shared memory, aligned for swizzled tiles.
__device__ __forceinline__ unsigned char* SwizzledSharedMemory() {
  extern __shared__ __align__(1024) unsigned char softpack_swizzled_memory[];
  return softpack_swizzled_memory;
}

__device__ __forceinline__ unsigned ClusterRank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Address of the counterpart of `address` in block `rank`.
__device__ __forceinline__ uint32_t AddressInBlock(uint32_t address, unsigned rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

// A phase of the barrier ends when so many threads have arrived and all bytes that were expected.
__device__ __forceinline__ void InitBarrier(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(arrivals)
               : "memory");
}
// Before a barrier of the cluster: lets other blocks and copies see the barriers of this thread.
__device__ __forceinline__ void PublishBarriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void ArriveExpecting(uint64_t* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
      "r"(bytes)
      : "memory");
}
// Releases within this block only, which suits a thread that has read and not written: a release
// to the cluster is a barrier for all its memory.
__device__ __forceinline__ void ArriveAt(uint64_t* barrier, unsigned rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(
                   AddressInBlock(SharedAddress(barrier), rank))
               : "memory");
}
// Until the phase of this parity has ended; of a new barrier the phase before the first has. What
// bulk copies brought is then seen; AwaitSent also shows what other blocks sent, at the cost of
// what L1 holds.
__device__ __forceinline__ void AwaitPhase(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n\t.reg .pred ended;\n"
      "again:\n\t"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n\t"
      "@!ended bra again;\n\t}" ::"r"(SharedAddress(barrier)),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void AwaitSent(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n\t.reg .pred ended;\n"
      "again:\n\t"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%0], %1;\n\t"
      "@!ended bra again;\n\t}" ::"r"(SharedAddress(barrier)),
      "r"(parity)
      : "memory");
}

// Multiples of 16 bytes, aligned as much; `barrier` counts them.
__device__ __forceinline__ void CopyBulk(void* shared, const void* global, uint32_t bytes,
                                         uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(SharedAddress(shared)),
      "l"(global), "r"(bytes), "r"(SharedAddress(barrier))
      : "memory");
}
// The same to the same place of several blocks, bit r of `blocks` for rank r; the barriers of each.
__device__ __forceinline__ void CopyBulkToBlocks(void* shared, const void* global, uint32_t bytes,
                                                 uint64_t* barrier, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1], %2, [%3], %4;" ::"r"(SharedAddress(shared)),
      "l"(global), "r"(bytes), "r"(SharedAddress(barrier)), "h"(blocks)
      : "memory");
}
// Asks for memory to be in L2, aligned likewise.
__device__ __forceinline__ void PrefetchBulk(const void* global, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes));
}
// Stores to `place` of block `rank`, whose barrier counts 4 bytes.
__device__ __forceinline__ void SendFloat(float* place, float value, uint64_t* barrier,
                                          unsigned rank) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(
          AddressInBlock(SharedAddress(place), rank)),
      "f"(value), "r"(AddressInBlock(SharedAddress(barrier), rank))
      : "memory");
}
// The same of 16 bytes, aligned as much.
__device__ __forceinline__ void SendWords(uint4* place, const uint4& words, uint64_t* barrier,
                                          unsigned rank) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(AddressInBlock(SharedAddress(place), rank)),
      "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w),
      "r"(AddressInBlock(SharedAddress(barrier), rank))
      : "memory");
}

#endif

#if defined(SOFTPACK_HOPPER) && !defined(SOFTPACK_CUDA_EMULATION)

// Before a product whose registers this thread has written.
__device__ __forceinline__ void FenceProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// All but the last kPending groups are done: only then are their registers and tiles free.
template <int kPending>
__device__ __forceinline__ void AwaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#define SOFTPACK_10(at)                                                                           \
  "%" #at "0, %" #at "1, %" #at "2, %" #at "3, %" #at "4, %" #at "5, %" #at "6, %" #at "7, %" #at \
  "8, %" #at "9, "
#define SOFTPACK_SUMS_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SOFTPACK_SUMS_16(i) \
  SOFTPACK_SUMS_4(i), SOFTPACK_SUMS_4(i + 4), SOFTPACK_SUMS_4(i + 8), SOFTPACK_SUMS_4(i + 12)

// sums += A B, asynchronously, of a warpgroup: `a` in registers, B described.
__device__ __forceinline__ void MultiplyWarpgroup(const uint32_t (&a)[4], uint64_t b,
                                                  float (&sums)[kProductSums]) {
  asm volatile(
      "{\n\t.reg .pred add;\n\tsetp.ne.b32 add, 1, 0;\n\t"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " SOFTPACK_10(1) SOFTPACK_10(2) SOFTPACK_10(3)
          SOFTPACK_10(4) SOFTPACK_10(5) SOFTPACK_10(6) SOFTPACK_10(7) SOFTPACK_10(8) SOFTPACK_10(9)
              SOFTPACK_10(10) SOFTPACK_10(11)
      "%120, %121, %122, %123, %124, %125, %126, %127}, "
      "{%128, %129, %130, %131}, %132, add, 1, 1, 0;\n\t}"
      : SOFTPACK_SUMS_16(0), SOFTPACK_SUMS_16(16), SOFTPACK_SUMS_16(32), SOFTPACK_SUMS_16(48),
        SOFTPACK_SUMS_16(64), SOFTPACK_SUMS_16(80), SOFTPACK_SUMS_16(96), SOFTPACK_SUMS_16(112)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef SOFTPACK_10
#undef SOFTPACK_SUMS_4
#undef SOFTPACK_SUMS_16

// Registers of each thread of this warpgroup from here on; a block's are shared out anew.
template <int kRegisters>
__device__ __forceinline__ void ReleaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void ClaimRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

#endif

}  // namespace softpack

#endif  // SOFTPACK_CUDA_HOPPER_H_
