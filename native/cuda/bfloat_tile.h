// A tile of a product of bfloat16 matrices on tensor cores, in registers; shared by bfloat.cu and
// bfloat_labels.cu.
//
// A block of 256 threads makes a tile of 128 labels by 128 classes, a warp 64 by 32 of it: per 16
// latent elements 16 tensor-core products for 24 words read from shared memory, by 6 instructions.
// Slices of 32 latent elements arrive by asynchronous copies, three on their way while one is used.
// Rows of a slice are 80 bytes apart, so that the 8 rows of 16 bytes of a matrix meet 32 banks.
//
// Counted for sm_90a: 106 instructions of a warp per slice, 32 of them products. Two warps share a
// scheduler and issue 212 in the 416 cycles that their products take where mma.sync reaches two
// thirds of the peak.
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

// Copies the slices of a tile to shared memory, one after the other: a thread the same pieces of 16
// bytes of each.
class SliceReader {
 public:
  __device__ SliceReader(const ProductParams& params, uint64_t first_row, uint64_t first_column)
      : params_(params),
        left_offset_((first_row + FirstRow()) * params.inner + FirstElement()),
        right_offset_((first_column + FirstRow()) * params.inner + FirstElement()) {
    Begin();
  }

  __device__ void Start(uint16_t* left, uint16_t* right) {
    const int to = FirstRow() * kSlicePitch + FirstElement();
#pragma unroll
    for (int i = 0; i < kTileRows / kRows; ++i) {
      CopyAsync16(left + to + i * kRows * kSlicePitch, left_ + i * kRows * params_.inner);
      CopyAsync16(right + to + i * kRows * kSlicePitch, right_ + i * kRows * params_.inner);
    }
    left_ += kSlice;
    right_ += kSlice;
    behind_ += kSlice;
    if (behind_ < params_.inner) return;
    ++pair_;
    Begin();
  }

 private:
  static constexpr int kPieces = kSlice / 8;  // of a row
  static constexpr int kRows = kThreads / kPieces;
  static __device__ int FirstRow() { return static_cast<int>(threadIdx.x) / kPieces; }
  static __device__ int FirstElement() { return static_cast<int>(threadIdx.x) % kPieces * 8; }

  __device__ void Begin() {
    left_ = (pair_ == 2 ? params_.left_low : params_.left_high) + left_offset_;
    right_ = (pair_ == 1 ? params_.right_low : params_.right_high) + right_offset_;
    behind_ = 0;
  }

  const ProductParams& params_;
  const uint64_t left_offset_;
  const uint64_t right_offset_;
  const uint16_t* left_;
  const uint16_t* right_;
  uint32_t behind_;  // latent elements of this product
  int pair_ = 0;
};

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

  const uint32_t steps = static_cast<uint32_t>(params.inner) / kSlice * params.pairs;
  SliceReader reader(params, first_row, first_column);
  const auto start = [&](uint32_t step) {
    if (step < steps) {
      uint16_t* const left = shared + step % kStages * (2 * kOperand);
      reader.Start(left, left + kOperand);
    }
    CommitCopies();
  };
  for (int step = 0; step < kStages - 1; ++step) start(step);
  const FragmentPlace in_a = RowOfA(lane), in_b = RowOfB(lane);
  const int left_at = (warp_row + in_a.row) * kSlicePitch + in_a.column;
  const int right_at = kOperand + (warp_column + in_b.row) * kSlicePitch + in_b.column;
  for (uint32_t step = 0; step < steps; ++step) {
    WaitForCopies<kStages - 2>();
    // This step's slice has arrived for all threads, and the previous one is no longer read.
    __syncthreads();
    start(step + kStages - 1);
    const uint16_t* const slice = shared + step % kStages * (2 * kOperand);
#pragma unroll
    for (int k = 0; k < kSlice; k += 16) {
      FragmentA a[kRowTiles];
      FragmentB b[kColumnTiles];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        LoadMatrices(slice + left_at + 16 * i * kSlicePitch + k, a[i].words);
      }
#pragma unroll
      for (int j = 0; j < kColumnTiles; j += 2) {
        uint32_t words[4];
        LoadMatrices(slice + right_at + 8 * j * kSlicePitch + k, words);
        b[j] = {{words[0], words[1]}};
        b[j + 1] = {{words[2], words[3]}};
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
