// Rows by the latent method on tensor cores: both factors rounded to bfloat16 (bfloat), or each
// kept as the sum of two (split: high * high + high * low + low * high), sums in float32.
//
// A block of 256 threads makes a tile of 128 labels by 128 classes, a warp 64 by 32 of it: per 16
// latent elements 16 tensor-core products for 24 words read from shared memory. Slices of 32 latent
// elements arrive by asynchronous copies, three on their way while one is used. Rows of a slice are
// 80 bytes apart, so that the 8 rows by 4 words of a fragment meet 32 banks.
//
// Cost a label at (classes, latent) = (1000, 1000), padded to 1024 by 1024: 2.1 MFLOP, at the 790
// TFLOP/s that an H100 or H200 sustains 380 M labels/s (split: 125 M). From L2 each tile reads
// 2 * 128 * 1024 * 2 bytes: 4 kB a label and tile column, 32 kB a label in all, 170 M labels/s at
// 5.5 TB/s; then 4 kB of values are written and read again by finish.cu. Latents: 2 kB a label
// written and read. mma.sync reaches about two thirds of what wgmma would.
#include "core/scalar_math.h"
#include "cuda/decoder.h"
#include "cuda/layout.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

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

struct RoundParams {
  const float* from;  // element (row, k) at from[row * row_stride + k * k_stride]
  uint64_t row_stride;
  uint64_t k_stride;
  uint64_t rows;
  uint64_t latent;
  uint16_t* high;  // [grid rows, latent_stride], zeros in the padding
  uint16_t* low;   // or null
  uint64_t latent_stride;
};

__device__ inline void StoreRounded(float value, uint64_t at, uint16_t* high, uint16_t* low) {
  const uint16_t rounded = scalar::FloatToBfloat(value);
  high[at] = rounded;
  if (low == nullptr) return;
  const float rest = value - scalar::FloatOf(static_cast<uint32_t>(rounded) << 16);
  low[at] = scalar::FloatToBfloat(rest);
}

__global__ void RoundKernel(RoundParams params) {
  const uint64_t row = blockIdx.x;
  for (uint64_t k = threadIdx.x; k < params.latent_stride; k += kThreads) {
    const bool inside = row < params.rows && k < params.latent;
    const float value = inside ? params.from[row * params.row_stride + k * params.k_stride] : 0.0f;
    StoreRounded(value, row * params.latent_stride + k, params.high, params.low);
  }
}

struct GatherParams {
  DecoderTables tables;
  LabelChunk chunk;
  uint16_t* high;  // [count, latent_stride]
  uint16_t* low;
};

__global__ void GatherRoundedKernel(GatherParams params) {
  const uint64_t label = blockIdx.x;
  const DecoderTables& tables = params.tables;
  for (uint64_t e = threadIdx.x; e < tables.latent_stride; e += kThreads) {
    const float value = e < tables.latent ? LatentElement(tables, params.chunk, label, e) : 0.0f;
    StoreRounded(value, label * tables.latent_stride + e, params.high, params.low);
  }
}

struct ProductParams {
  // [rows, inner] and [columns, inner], rounded; and for split what the rounding left over.
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

__global__ void __launch_bounds__(kThreads) BfloatProductKernel(ProductParams params) {
  uint16_t* const shared = SharedMemory<uint16_t>();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileColumns;
  const int warp_row = warp / 4 * kWarpRows, warp_column = warp % 4 * kWarpColumns;
  constexpr int kRowTiles = kWarpRows / 16, kColumnTiles = kWarpColumns / 8;
  float sums[kRowTiles][kColumnTiles][4];
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
    // This step's slice is there for all, and the one before it is used up.
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

#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int n = 0; n < 4; n += 2) {
        const FragmentPlace place = PlaceInSums(lane, n);
        const uint64_t row = first_row + warp_row + 16 * i + place.row;
        const uint64_t column = first_column + warp_column + 8 * j + place.column;
        if (row >= params.rows || column >= params.columns) continue;
        const float2 bias = *reinterpret_cast<const float2*>(params.bias + column);
        *reinterpret_cast<float2*>(params.out + row * params.columns + column) =
            make_float2(sums[i][j][n] + bias.x, sums[i][j][n + 1] + bias.y);
      }
    }
  }
}

}  // namespace

void CudaDecoder::CreateBfloat(Operation& operation, const SoftpackDecoderSpec& spec, bool split) {
  tables_.latent_stride = RoundUpTo(spec.latent, kSlice);
  const uint64_t rows = RoundUpTo(spec.classes, kTileColumns);
  uint16_t* const high = Hold<uint16_t>(operation, basis_high_, rows * tables_.latent_stride);
  uint16_t* const low =
      split ? Hold<uint16_t>(operation, basis_low_, rows * tables_.latent_stride) : nullptr;
  operation.Run("rounding the basis", RoundKernel, {static_cast<unsigned>(rows), kThreads},
                {tables_.basis, 1, spec.classes, spec.classes, spec.latent, high, low,
                 tables_.latent_stride});
  tables_.basis_high = high;
  tables_.basis_low = low;
}

void RunBfloatValues(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     float* values) {
  const uint64_t elements = RoundUpTo(chunk.count, kTileRows) * tables.latent_stride;
  const bool split = tables.basis_low != nullptr;
  uint16_t* const high = operation.Take<uint16_t>(elements);
  uint16_t* const low = split ? operation.Take<uint16_t>(elements) : nullptr;
  operation.Run("looking codewords up", GatherRoundedKernel,
                {static_cast<unsigned>(chunk.count), kThreads}, {tables, chunk, high, low});
  ProductParams params = {high,          low,          tables.basis_high,    tables.basis_low,
                          split ? 3 : 1, chunk.count,  tables.latent_stride, tables.bias,
                          values,        tables.stride};
  const dim3 grid(static_cast<unsigned>((tables.stride + kTileColumns - 1) / kTileColumns),
                  static_cast<unsigned>((chunk.count + kTileRows - 1) / kTileRows));
  operation.Run("multiplying on tensor cores", BfloatProductKernel, {grid, kThreads, kSharedBytes},
                params);
}

}  // namespace softpack
