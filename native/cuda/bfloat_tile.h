// A tile of a product of bfloat16 matrices on tensor cores, in registers; shared by bfloat.cu and
// bfloat_labels.cu.
//
// A block of 256 threads makes a tile of 128 labels by 128 classes, a warp 64 by 32 of it: per 16
// latent elements 16 tensor-core products for 24 words read from shared memory. Slices of 32 latent
// elements arrive by asynchronous copies, three on their way while one is used. Rows of a slice are
// 80 bytes apart, so that the 8 rows by 4 words of a fragment meet 32 banks.
#ifndef SOFTPACK_CUDA_BFLOAT_TILE_H_
#define SOFTPACK_CUDA_BFLOAT_TILE_H_

#include "cuda/decoder.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace bfloat {

constexpr int kThreads = 256;
constexpr int kTileRows = 128;
constexpr int kTileColumns = 128;
constexpr int kSlice = 32;       // latent elements at a time
constexpr int kSlicePitch = 40;  // elements from row to row in shared memory
constexpr int kStages = 4;       // slices in shared memory
constexpr int kOperand = kTileRows * kSlicePitch;
constexpr size_t kSharedBytes = size_t{kStages} * 2 * kOperand * sizeof(uint16_t);
constexpr int kWarpRows = 64;
constexpr int kWarpColumns = 32;
static_assert(kTileRows == kTileColumns, "both operands' slices have the same shape");
constexpr int kRowTiles = kWarpRows / 16;
constexpr int kColumnTiles = kWarpColumns / 8;

struct ProductParams {
  // [rows, inner] and [columns, inner], rounded; and for split the rounding errors.
  const uint16_t* left_high;
  const uint16_t* left_low;
  const uint16_t* right_high;
  const uint16_t* right_low;
  int pairs;  // 1, or 3: high * high, high * low, low * high
  uint64_t rows;
  uint64_t inner;  // a multiple of kSlice
  const float* bias;
  float* out;
  uint64_t columns;  // of out, and from row to row; a multiple of 64
};

__device__ inline void StartSlice(const ProductParams& params, uint64_t step, uint64_t first_row,
                                  uint64_t first_column, uint16_t* left, uint16_t* right) {
  const uint64_t slices = params.inner / kSlice;
  const int pair = static_cast<int>(step / slices);
  const uint16_t* const from_left = pair == 2 ? params.left_low : params.left_high;
  const uint16_t* const from_right = pair == 1 ? params.right_low : params.right_high;
  const uint64_t k = step % slices * kSlice;
  constexpr int kPieces = kSlice / 8;  // of 16 bytes, a row
#pragma unroll
  for (int i = 0; i < kTileRows * kPieces / kThreads; ++i) {
    const int piece = static_cast<int>(threadIdx.x) + i * kThreads;
    const int row = piece / kPieces, at = piece % kPieces * 8;
    CopyAsync16(left + row * kSlicePitch + at,
                from_left + (first_row + row) * params.inner + k + at);
    CopyAsync16(right + row * kSlicePitch + at,
                from_right + (first_column + row) * params.inner + k + at);
  }
}

__device__ inline uint32_t Word(const uint16_t* slice, int row, int k) {
  return *reinterpret_cast<const uint32_t*>(slice + row * kSlicePitch + k);
}

// Place of a thread's sums [i][j][n] in the tile.
struct TilePlace {
  int row;
  int column;
};
__host__ __device__ inline TilePlace PlaceInTile(int thread, int i, int j, int n) {
  const int warp = thread / 32;
  const FragmentPlace place = PlaceInSums(thread % 32, n);
  return {warp / 4 * kWarpRows + 16 * i + place.row,
          warp % 4 * kWarpColumns + 8 * j + place.column};
}

// Shared memory (kSharedBytes of it) is free again after the next barrier.
__device__ __forceinline__ void MultiplyBfloatTile(const ProductParams& params, uint64_t first_row,
                                                   uint64_t first_column,
                                                   float (&sums)[kRowTiles][kColumnTiles][4]) {
  uint16_t* const shared = SharedMemory<uint16_t>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / 4 * kWarpRows, warp_column = warp % 4 * kWarpColumns;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int n = 0; n < 4; ++n) sums[i][j][n] = 0.0f;
    }
  }

  const uint64_t steps = params.pairs * (params.inner / kSlice);
  const auto start = [&](uint64_t step) {
    if (step < steps) {
      uint16_t* const left = shared + step % kStages * 2 * kOperand;
      StartSlice(params, step, first_row, first_column, left, left + kOperand);
    }
    CommitCopies();
  };
  for (int step = 0; step < kStages - 1; ++step) start(step);
  for (uint64_t step = 0; step < steps; ++step) {
    WaitForCopies<kStages - 2>();
    // This step's slice has arrived for all threads, and the previous one is no longer read.
    __syncthreads();
    start(step + kStages - 1);
    const uint16_t* const left = shared + step % kStages * 2 * kOperand;
    const uint16_t* const right = left + kOperand;
#pragma unroll
    for (int k = 0; k < kSlice; k += 16) {
      FragmentA a[kRowTiles];
      FragmentB b[kColumnTiles];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const FragmentPlace place = PlaceInA(lane, n);
          a[i].words[n] = Word(left, warp_row + 16 * i + place.row, k + place.column);
        }
      }
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const FragmentPlace place = PlaceInB(lane, n);
          b[j].words[n] = Word(right, warp_column + 8 * j + place.column, k + place.row);
        }
      }
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) MultiplyFragments(a[i], b[j], sums[i][j]);
      }
    }
  }
}

}  // namespace bfloat

// Looks up the latents of a chunk, into BfloatLatents elements of `latents`, and describes their
// product with the basis, `out` still missing.
bfloat::ProductParams StartBfloatProduct(Operation& operation, const DecoderTables& tables,
                                         const LabelChunk& chunk, uint16_t* latents);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_BFLOAT_TILE_H_
