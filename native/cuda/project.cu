// The matrix product. See gemm_tile.h for design and cost; with 1,000 rows, columns and inner
// elements 2 GFLOP on 12 MB, counted: 17 us at 120 TFLOP/s of nothing but multiply-adds is out of
// reach of float32 units, 40 us is their peak on an H100 (51 TFLOP/s) and about 50 us what the tile
// gives.
#include "cuda/project.h"

#include <algorithm>

namespace softpack {
namespace {

template <bool kInnerContiguousA, bool kInnerContiguousB>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks) ProductKernel(ProductParams params) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.x) * kTile;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.y) * kTile;
  const int row_part = static_cast<int>(threadIdx.x) / 16;
  const int column_part = static_cast<int>(threadIdx.x) % 16;
  float sums[8][8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint64_t row = first_row + TileElement(row_part, i);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint64_t column = first_column + TileElement(column_part, j);
      const bool inside = row < params.a.outers && column < params.b.outers;
      float start = 0.0f;
      if (inside && params.accumulate) start = params.out[row * params.out_stride + column];
      if (inside && params.start != nullptr) start = params.start[column];
      sums[i][j] = start;
    }
  }
  MultiplyTile<kInnerContiguousA, kInnerContiguousB, false>(params.a, first_row, params.b,
                                                            first_column, params.inner, sums);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint64_t row = first_row + TileElement(row_part, i);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint64_t column = first_column + TileElement(column_part, j);
      if (row < params.a.outers && column < params.b.outers) {
        params.out[row * params.out_stride + column] = sums[i][j];
      }
    }
  }
}

constexpr uint64_t kMostColumnTiles = 65535;
// Rows of `a` and `out` on the device at a time if they come from the host.
constexpr uint64_t kChunkBytes = 64 << 20;

}  // namespace

void RunProduct(Operation& operation, const ProductParams& params) {
  if (params.a.outers == 0) return;
  const bool a_contiguous = params.a.inner_stride == 1, b_contiguous = params.b.inner_stride == 1;
  const auto kernel =
      a_contiguous ? (b_contiguous ? ProductKernel<true, true> : ProductKernel<true, false>)
                   : (b_contiguous ? ProductKernel<false, true> : ProductKernel<false, false>);
  constexpr uint64_t kMostColumns = kMostColumnTiles * kTile;
  for (uint64_t first = 0; first < params.b.outers; first += kMostColumns) {
    ProductParams part = params;
    part.b.data += first * params.b.outer_stride;
    part.b.outers = std::min(kMostColumns, params.b.outers - first);
    part.out += first;
    if (part.start != nullptr) part.start += first;
    const dim3 grid(static_cast<unsigned>((params.a.outers + kTile - 1) / kTile),
                    static_cast<unsigned>((part.b.outers + kTile - 1) / kTile));
    operation.Run("multiplying matrices", kernel, {grid, kTileThreads, kTileSharedBytes}, part);
  }
}

int Project(const SoftpackProjectArgs* args) {
  Operation operation(args->threads);
  const uint64_t rows = args->rows, inner = args->inner, columns = args->columns;
  if (rows == 0 || columns == 0) return operation.Finish();
  const TileOperand b = args->transpose_b ? TileOperand{args->b, inner, 1, columns}
                                          : TileOperand{args->b, 1, columns, columns};
  ProductParams params = {{}, b, nullptr, nullptr, columns, inner, args->accumulate != 0};
  params.b.data = operation.Input(args->b, inner * columns);

  const bool out_here = operation.OnDevice(args->out);
  const bool a_here = inner == 0 || operation.OnDevice(args->a);
  const float* const whole_a =
      a_here || args->transpose_a ? operation.Input(args->a, rows * inner) : nullptr;
  const uint64_t row_bytes = ((whole_a == nullptr ? inner : 0) + (out_here ? 0 : columns)) * 4;
  const uint64_t chunk =
      row_bytes == 0 ? rows : std::min(rows, std::max<uint64_t>(kChunkBytes / row_bytes, 1));
  float* const chunk_a = whole_a == nullptr ? operation.Take<float>(chunk * inner) : nullptr;
  float* const chunk_out = out_here ? nullptr : operation.Take<float>(chunk * columns);

  for (uint64_t first = 0; operation.ok() && first < rows; first += chunk) {
    const uint64_t count = std::min(chunk, rows - first);
    const float* a = chunk_a;
    if (whole_a == nullptr) {
      operation.CopyIn(chunk_a, args->a + first * inner, count * inner * sizeof(float));
    } else {
      a = whole_a + first * (args->transpose_a ? 1 : inner);
    }
    params.a = args->transpose_a ? TileOperand{a, 1, rows, count} : TileOperand{a, inner, 1, count};
    params.out = out_here ? args->out + first * columns : chunk_out;
    if (!out_here && params.accumulate) {
      operation.CopyIn(chunk_out, args->out + first * columns, count * columns * sizeof(float));
    }
    RunProduct(operation, params);
    if (!out_here) {
      operation.CopyOut(args->out + first * columns, chunk_out, count * columns * sizeof(float));
    }
  }
  return operation.Finish();
}

}  // namespace softpack
