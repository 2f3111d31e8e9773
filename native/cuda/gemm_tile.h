// A float32 product on ordinary cores, a tile at a time; shared by `project`, `nearest` and the
// exact decoders.
//
// A block of 256 threads holds a tile of 128 outer elements of A by 128 of B, 8 by 8 per thread,
// and walks the inner dimension 8 at a time: 64 multiply-adds for 16 floats read from shared
// memory, two buffers, one barrier per step. Each accumulator is one chain of fused multiply-adds
// over ascending inner, as on the CPU: the bytes are the CPU's.
//
// Counted cost of a tile: 128 * 128 * inner multiply-adds; 2 * 128 * inner * 4 bytes read from
// global memory or L2, so 32 multiply-adds per byte: bound by arithmetic from about 64 columns on.
#ifndef SOFTPACK_CUDA_GEMM_TILE_H_
#define SOFTPACK_CUDA_GEMM_TILE_H_

#include "cuda/platform.h"

namespace softpack {

constexpr int kTile = 128;
constexpr int kTileDepth = 8;
constexpr int kTileThreads = 256;
// Four floats more than a tile, so that the 8 by 4 elements a warp stores at a time meet 32 banks.
constexpr int kTilePitch = kTile + 4;
// Two blocks per multiprocessor leave a thread 128 registers, slightly too few for what the
// compiler makes of it but on Hopper.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
constexpr int kTileBlocks = 2;
#else
constexpr int kTileBlocks = 1;
#endif
constexpr size_t kTileSharedBytes = 2 * 2 * kTileDepth * kTilePitch * sizeof(float);

// Element (outer, inner) lies at data[outer * outer_stride + inner * inner_stride]; one of the
// strides is 1.
struct TileOperand {
  const float* data;
  uint64_t outer_stride;
  uint64_t inner_stride;
  uint64_t outers;
};

// Accumulators that a thread holds: i in 0 to 7 is outer element TileElement(part, i) of
// the tile, part = threadIdx.x / 16 for A and % 16 for B. Two runs of four, so that each is one
// 16-byte read and neighbours read neighbours.
__host__ __device__ inline int TileElement(int part, int i) {
  return i < 4 ? part * 4 + i : kTile / 2 + part * 4 + i - 4;
}

// Source of a thread's element `i` (0 to 3) of a slice of 8 by 128: neighbours in a warp read
// neighbours in memory.
struct SlicePlace {
  int inner;
  int outer;
};
__host__ __device__ inline SlicePlace PlaceInSlice(bool inner_contiguous, int thread, int i) {
  if (inner_contiguous) return {thread % 8, thread / 8 + 32 * i};
  return {thread / 128 + 2 * i, thread % 128};
}

// Reads a thread's share of one slice after the other, zeros beyond the operand's edges.
template <bool kInnerContiguous>
class SliceReader {
 public:
  __device__ SliceReader(const TileOperand& operand, uint64_t first_outer, uint64_t inner) {
    const SlicePlace place = PlaceInSlice(kInnerContiguous, static_cast<int>(threadIdx.x), 0);
    const uint64_t outer = first_outer + place.outer;
    const uint64_t row = kInnerContiguous ? operand.outer_stride : operand.inner_stride;
    at_ = operand.data + (kInnerContiguous ? outer * row + place.inner : place.inner * row + outer);
    step_ = row * (kInnerContiguous ? 32 : 2);
    advance_ = kInnerContiguous ? kTileDepth : kTileDepth * row;
    inner_left_ = static_cast<int64_t>(inner) - place.inner;
    if (kInnerContiguous) {
      const int64_t left = static_cast<int64_t>(operand.outers) - static_cast<int64_t>(outer);
      elements_ = left <= 0 ? 0 : left > 96 ? 4 : static_cast<int>((left + 31) / 32);
    } else {
      elements_ = outer < operand.outers ? 4 : 0;
    }
  }

  __device__ void Read(float (&values)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool inside = i < elements_ && (kInnerContiguous ? 0 : 2 * i) < inner_left_;
      values[i] = inside ? at_[i * step_] : 0.0f;
    }
    at_ += advance_;
    inner_left_ -= kTileDepth;
  }

  static __device__ void Store(const float (&values)[4], float* tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const SlicePlace place = PlaceInSlice(kInnerContiguous, static_cast<int>(threadIdx.x), i);
      tile[place.inner * kTilePitch + place.outer] = values[i];
    }
  }

 private:
  const float* at_;
  uint64_t step_;
  uint64_t advance_;
  int64_t inner_left_;
  int elements_;  // of the four that lie within the operand's outer edge
};

template <bool kNegateA>
__device__ inline void MultiplyStep(const float* a, const float* b, float (&sums)[8][8]) {
  const int row = static_cast<int>(threadIdx.x) / 16 * 4;
  const int column = static_cast<int>(threadIdx.x) % 16 * 4;
  float left[8], right[8];
  *reinterpret_cast<float4*>(left) = *reinterpret_cast<const float4*>(a + row);
  *reinterpret_cast<float4*>(left + 4) = *reinterpret_cast<const float4*>(a + kTile / 2 + row);
  *reinterpret_cast<float4*>(right) = *reinterpret_cast<const float4*>(b + column);
  *reinterpret_cast<float4*>(right + 4) = *reinterpret_cast<const float4*>(b + kTile / 2 + column);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float factor = kNegateA ? -left[i] : left[i];
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(factor, right[j], sums[i][j]);
  }
}

// sums(i, j) = fma(a(i, k), b(j, k), sums(i, j)) for ascending k, or with -a. All threads of the
// block take part; shared memory is free again after the next barrier.
template <bool kInnerContiguousA, bool kInnerContiguousB, bool kNegateA>
__device__ __forceinline__ void MultiplyTile(const TileOperand& a, uint64_t first_a,
                                             const TileOperand& b, uint64_t first_b, uint64_t inner,
                                             float (&sums)[8][8]) {
  constexpr int kBuffer = kTileDepth * kTilePitch;
  using ReaderA = SliceReader<kInnerContiguousA>;
  using ReaderB = SliceReader<kInnerContiguousB>;
  float* const tiles_a = SharedMemory<float>();
  float* const tiles_b = tiles_a + 2 * kBuffer;
  ReaderA reader_a(a, first_a, inner);
  ReaderB reader_b(b, first_b, inner);
  float slice_a[4], slice_b[4];
  reader_a.Read(slice_a);
  reader_b.Read(slice_b);
  int buffer = 0;
  for (uint64_t k = 0; k < inner; k += kTileDepth, buffer ^= 1) {
    float* const tile_a = tiles_a + buffer * kBuffer;
    float* const tile_b = tiles_b + buffer * kBuffer;
    ReaderA::Store(slice_a, tile_a);
    ReaderB::Store(slice_b, tile_b);
    __syncthreads();
    reader_a.Read(slice_a);
    reader_b.Read(slice_b);
    if (inner - k >= kTileDepth) {
#pragma unroll
      for (int step = 0; step < kTileDepth; ++step) {
        MultiplyStep<kNegateA>(tile_a + step * kTilePitch, tile_b + step * kTilePitch, sums);
      }
    } else {
      // No padding with zeros: 0 * 0 added to -0 gives +0, which the CPU would not.
      for (int step = 0; step < static_cast<int>(inner - k); ++step) {
        MultiplyStep<kNegateA>(tile_a + step * kTilePitch, tile_b + step * kTilePitch, sums);
      }
    }
  }
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_GEMM_TILE_H_
