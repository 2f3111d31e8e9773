// Matrix product: `out` is cut into a grid of blocks, one a thread, each of which packs its own
// share of both operands. Some packing is done twice that way, but no thread waits for another.
#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/operations.h"
#include "cpu/packed_matrix.h"

namespace softpack {
namespace {

// Columns packed at a time: 1 MB of panels, a whole number of them for every table.
constexpr uint64_t kColumnBlock = 1008;
// A packed element costs about as much as this many multiply-adds.
constexpr uint64_t kPackCost = 24;
// Below this many multiply-adds a second thread wakes too late to help.
constexpr double kWorthThreads = 1 << 20;

struct Grid {
  uint64_t block_rows;
  uint64_t block_columns;
};

// The grid of at most `threads` blocks whose largest block is cheapest.
Grid ChooseGrid(const KernelTable& table, uint64_t rows, uint64_t columns, uint64_t threads) {
  Grid best{rows, columns};
  uint64_t least = UINT64_MAX;
  for (uint64_t down = 1; down <= threads; ++down) {
    const uint64_t across = threads / down;
    const uint64_t block_rows = RoundUp((rows + down - 1) / down, table.strip_rows);
    const uint64_t block_columns = RoundUp((columns + across - 1) / across, table.panel_columns);
    const uint64_t cost = block_rows * block_columns + kPackCost * (block_rows + block_columns);
    if (cost < least) {
      least = cost;
      best = {block_rows, block_columns};
    }
  }
  return best;
}

struct Block {
  uint64_t first_row, rows, first_column, columns;
};

int ProjectBlock(const KernelTable& table, const MatrixView& a, const MatrixView& b,
                 const Block& block, const SoftpackProjectArgs& args) {
  float* const out = args.out + block.first_row * args.columns + block.first_column;
  if (!args.accumulate) {
    for (uint64_t i = 0; i < block.rows; ++i)
      std::fill_n(out + i * args.columns, block.columns, 0.0f);
  }
  const uint64_t depth = std::min<uint64_t>(args.inner, table.inner_block);
  Buffer<float> panels(PackedFloats(table, depth, std::min(block.columns, kColumnBlock)));
  Buffer<float> scratch(ScratchFloats(table));
  if (!panels || !scratch) return kSoftpackOutOfMemory;
  for (uint64_t column = 0; column < block.columns; column += kColumnBlock) {
    const uint64_t columns = std::min(kColumnBlock, block.columns - column);
    for (uint64_t k = 0; k < args.inner; k += table.inner_block) {
      const uint64_t inner = std::min<uint64_t>(table.inner_block, args.inner - k);
      const uint64_t b_start = k * b.row_stride + (block.first_column + column) * b.column_stride;
      const uint64_t a_start = block.first_row * a.row_stride + k * a.column_stride;
      const MatrixView right{b.data + b_start, b.row_stride, b.column_stride};
      const MatrixView left{a.data + a_start, a.row_stride, a.column_stride};
      table.pack_panels(right, inner, columns, panels.data());
      table.multiply(left, panels.data(), block.rows, inner, columns, out + column, args.columns,
                     scratch.data());
    }
  }
  return kSoftpackOk;
}

}  // namespace

int Project(const KernelTable& table, const SoftpackProjectArgs& args) {
  if (args.rows == 0 || args.columns == 0) return kSoftpackOk;
  const MatrixView a =
      args.transpose_a ? MatrixView{args.a, 1, args.rows} : MatrixView{args.a, args.inner, 1};
  const MatrixView b =
      args.transpose_b ? MatrixView{args.b, 1, args.inner} : MatrixView{args.b, args.columns, 1};
  const double work = static_cast<double>(args.rows) * static_cast<double>(args.columns) *
                      static_cast<double>(args.inner);
  const uint32_t threads = work < kWorthThreads ? 1 : ResolveThreads(args.threads);
  const Grid grid = ChooseGrid(table, args.rows, args.columns, threads);
  const uint64_t across = (args.columns + grid.block_columns - 1) / grid.block_columns;
  const uint64_t down = (args.rows + grid.block_rows - 1) / grid.block_rows;
  return ParallelFor(threads, down * across, [&](uint64_t task) {
    const uint64_t first_row = task / across * grid.block_rows;
    const uint64_t first_column = task % across * grid.block_columns;
    const Block block{first_row, std::min(grid.block_rows, args.rows - first_row), first_column,
                      std::min(grid.block_columns, args.columns - first_column)};
    return ProjectBlock(table, a, b, block, args);
  });
}

}  // namespace softpack
