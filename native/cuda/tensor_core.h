// Instructions that ordinary CUDA C++ cannot express: a product of bfloat16 fragments on tensor
// cores (Ampere and later), the fragments' words from shared memory, and a copy to shared memory
// that runs in parallel with arithmetic. Without CUDA each has a twin that does the same by the
// fragment layout of the PTX manual.
#ifndef SOFTPACK_CUDA_TENSOR_CORE_H_
#define SOFTPACK_CUDA_TENSOR_CORE_H_

#include "core/scalar_math.h"
#include "cuda/platform.h"

namespace softpack {

// mma.m16n8k16, A row-major, B column-major, sums in float32. With group = lane / 4 and pair = 2 *
// (lane % 4), a lane holds (PTX ISA, "Matrix fragments for mma.m16n8k16"):
//   A[0..3]  columns pair, pair + 1 of row group; of row group + 8; then both 8 columns further on
//   B[0..1]  rows pair, pair + 1 of column group; 8 rows further down
//   sums     columns pair, pair + 1 of row group; of row group + 8
struct FragmentA {
  uint32_t words[4];
};
struct FragmentB {
  uint32_t words[2];
};

// Row and column of word `i` of a lane's part of A; its second half is one column on.
struct FragmentPlace {
  int row;
  int column;
};
__host__ __device__ inline FragmentPlace PlaceInA(int lane, int i) {
  return {lane / 4 + i % 2 * 8, lane % 4 * 2 + i / 2 * 8};
}
// Place in B: column and first row.
__host__ __device__ inline FragmentPlace PlaceInB(int lane, int i) {
  return {lane % 4 * 2 + i * 8, lane / 4};
}
// Place of sum `i`.
__host__ __device__ inline FragmentPlace PlaceInSums(int lane, int i) {
  return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2};
}

// Row of shared memory, and first element in it, that a lane names for LoadMatrices: of A, or of B
// for two columns of fragments, 16 columns in all.
__host__ __device__ inline FragmentPlace RowOfA(int lane) { return {lane % 16, lane / 16 * 8}; }
__host__ __device__ inline FragmentPlace RowOfB(int lane) {
  return {lane % 8 + lane / 16 * 8, lane / 8 % 2 * 8};
}

#ifdef SOFTPACK_CUDA_EMULATION

inline void LoadMatrices(const uint16_t* row, uint32_t (&words)[4]) {
  softpack_emulation::WarpMatrices(row, words);
}

inline void MultiplyFragments(const FragmentA& a, const FragmentB& b, float (&sums)[4]) {
  softpack_emulation::WarpMultiply(a.words, b.words, sums);
}

inline void CopyAsync16(void* shared, const void* global) { std::memcpy(shared, global, 16); }
inline void CommitCopies() {}
template <int kPending>
inline void WaitForCopies() {}

#else

// Four matrices of 8 rows of 16 bytes in shared memory: lane l names row l % 8 of matrix l / 8 and
// receives word l % 4 of row l / 4 of each.
__device__ __forceinline__ void LoadMatrices(const uint16_t* row, uint32_t (&words)[4]) {
  const uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(from)
               : "memory");
}

__device__ __forceinline__ void MultiplyFragments(const FragmentA& a, const FragmentB& b,
                                                  float (&sums)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]),
        "r"(b.words[1]));
#endif
}

// 16 bytes, aligned on both sides.
__device__ __forceinline__ void CopyAsync16(void* shared, const void* global) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
  *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
#endif
}
__device__ __forceinline__ void CommitCopies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// All but the last kPending groups have arrived, this thread's.
template <int kPending>
__device__ __forceinline__ void WaitForCopies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

#endif

}  // namespace softpack

#endif  // SOFTPACK_CUDA_TENSOR_CORE_H_
