// A thread's sums of version 2 of `bfloat`, and totals over whole rows, whose parts lie in up to
// four blocks of a cluster.
//
// A warp has 16 rows of all classes of its block, a quad of lanes two of them, so that a row's part
// takes two shuffles. Lane l of a quad then sends it to the block of columns l, which waits for
// bytes, not for threads: no barrier of the cluster.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_ROWS_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_ROWS_H_

#include "cuda/bfloat_hopper.h"

#ifdef SOFTPACK_HOPPER

namespace softpack {
namespace hopper {

constexpr int kRows = 2;                          // of a thread, 8 apart
constexpr int kFours = kProductSums / kRows / 4;  // four adjacent classes of one row
constexpr int kFourStep = 16;                     // classes from one to the next

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Most {
  __device__ float operator()(float a, float b) const { return Greater(a, b); }
};

// Sum of element `i` of four `f`, of row `r`.
__device__ __forceinline__ constexpr int SumAt(int f, int r, int i) {
  return 8 * f + i / 2 * 4 + 2 * r + i % 2;
}

// Sums over a quad of lanes, which has two rows; to all its lanes.
template <class Combine>
__device__ __forceinline__ void CombineQuad(float (&parts)[kRows], const Combine& combine) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    parts[r] = combine(parts[r], __shfl_xor_sync(kFullWarp, parts[r], 1));
    parts[r] = combine(parts[r], __shfl_xor_sync(kFullWarp, parts[r], 2));
  }
}

__device__ __forceinline__ constexpr int RowOfSum(int at) { return at / 2 % 2; }

// What the blocks of a row of tiles tell each other. The n-th exchange of a block: buffers
// alternate, as a block that begins the one after next has all parts of the next one, which nobody
// sends before having read this one's.
class Exchange {
 public:
  __device__ Exchange(const Params& params, const Block& block)
      : block_(block), columns_(params.shape.columns()), quantities_(params.plan.quantities) {}

  __device__ uint32_t columns() const { return columns_; }

  // Gives the quads' parts of their rows to all blocks. Received parts lie at PartOf.
  template <int kCount>
  __device__ __forceinline__ const float* Trade(const float (&parts)[kCount][kRows], uint32_t row) {
    const unsigned lane = threadIdx.x % 4;
    float* const received = block_.sums + turn_.slot * quantities_ * kQuantityFloats;
    uint64_t* const summed = block_.summed(turn_.slot);
#pragma unroll
    for (int q = 0; q < kCount; ++q) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (lane < columns_) {
          SendFloat(received + PartOf(q, block_.column(), row + 8 * r), parts[q][r], summed,
                    block_.rank_of(lane));
        }
      }
    }
    if (threadIdx.x == kWarpgroup) {
      ArriveExpecting(summed, kCount * columns_ * kTileLabels * 4);
    }
    AwaitSent(summed, turn_.parity);
    turn_.Next(2);
    return received;
  }

  static __device__ __forceinline__ uint32_t PartOf(uint32_t quantity, uint32_t column,
                                                    uint32_t row) {
    return (quantity * kMostColumns + column) * kTileLabels + row;
  }

  // Totals of whole rows from this thread's parts, in the order of the columns' tiles.
  template <class Combine>
  __device__ __forceinline__ void Total(float (&parts)[kRows], uint32_t row,
                                        const Combine& combine) {
    CombineQuad(parts, combine);
    float given[1][kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) given[0][r] = parts[r];
    const float* const received = Trade(given, row);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float total = received[PartOf(0, 0, row + 8 * r)];
#pragma unroll 1
      for (uint32_t column = 1; column < columns_; ++column) {
        total = combine(total, received[PartOf(0, column, row + 8 * r)]);
      }
      parts[r] = total;
    }
  }

 private:
  const Block& block_;
  uint32_t columns_;
  uint32_t quantities_;
  Turn turn_;
};

// Classes of this block from its first, that exist: at most a tile.
__device__ __forceinline__ uint32_t ClassesHere(const Params& params, const Block& block) {
  const uint32_t left = params.shape.classes - block.column() * kTileClasses;
  return left < kTileClasses ? left : kTileClasses;
}

__device__ __forceinline__ void StartSums(const Block& block, float (&sums)[kProductSums]) {
  const uint32_t first = threadIdx.x % 4 * 4;
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
    const float4 bias = *reinterpret_cast<const float4*>(block.bias + f * kFourStep + first);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sums[SumAt(f, r, 0)] = bias.x;
      sums[SumAt(f, r, 1)] = bias.y;
      sums[SumAt(f, r, 2)] = bias.z;
      sums[SumAt(f, r, 3)] = bias.w;
    }
  }
}

// Calls f(sum, r, i) for each sum that is a class; i: of the four.
template <class Function>
__device__ __forceinline__ void ForEachClass(uint32_t classes, float (&sums)[kProductSums],
                                             const Function& use) {
  const uint32_t first = threadIdx.x % 4 * 4;
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + f * kFourStep + i >= classes) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) use(sums[SumAt(f, r, i)], r, i);
    }
  }
}

}  // namespace hopper
}  // namespace softpack

#endif

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_ROWS_H_
