// The kernels of kernel_table.h over the vectors of a simd_<isa>.h, included once for each
// instruction set inside its own target region and namespace. Calls nothing from the
// standard library: an inline function shared with other files must not be compiled for an
// instruction set that those files do not ask for.
//
// multiply: a register tile of kStripRows rows by kPanelVectors vectors of columns, started from
// `out` so that the chain of fused multiply-adds goes on from one inner block to the next. Per
// inner step it loads kPanelVectors vectors and broadcasts kStripRows floats for kStripRows *
// kPanelVectors multiply-adds.
//
// nearest: lanes are codewords. kNearestRows vectors share each load of the codebook; scores never
// leave registers.

constexpr uint32_t kPanelColumns = kPanelVectors * kLanes;
constexpr uint32_t kGroupSize = kNearestVectors * kLanes;

// Cuts the rows of a matrix into tiles of Tile rows, each laid out [inner][Tile], zeros beyond the
// last row.
template <uint32_t Tile>
void PackTiles(const float* from, uint64_t row_stride, uint64_t inner_stride, uint64_t rows,
               uint64_t inner, float* to) {
  for (uint64_t row = 0; row < rows; row += Tile, from += Tile * row_stride) {
    if (rows - row >= Tile) {
      for (uint64_t k = 0; k < inner; ++k, to += Tile) {
        for (uint32_t i = 0; i < Tile; ++i) to[i] = from[i * row_stride + k * inner_stride];
      }
    } else {
      const uint32_t present = static_cast<uint32_t>(rows - row);
      for (uint64_t k = 0; k < inner; ++k, to += Tile) {
        for (uint32_t i = 0; i < Tile; ++i) {
          to[i] = i < present ? from[i * row_stride + k * inner_stride] : 0.0f;
        }
      }
    }
  }
}

// One of the two strides is always 1; knowing which at compile time turns copies into vector moves.
template <uint32_t Tile>
void PackTilesOf(const float* from, uint64_t row_stride, uint64_t inner_stride, uint64_t rows,
                 uint64_t inner, float* to) {
  if (row_stride == 1)
    PackTiles<Tile>(from, 1, inner_stride, rows, inner, to);
  else
    PackTiles<Tile>(from, row_stride, 1, rows, inner, to);
}

void PackPanels(const MatrixView& b, uint64_t inner, uint64_t columns, float* panels) {
  PackTilesOf<kPanelColumns>(b.data, b.column_stride, b.row_stride, columns, inner, panels);
}

SOFTPACK_INLINE void MultiplyTile(const float* strip, const float* panel, uint64_t inner,
                                  float* out, uint64_t out_stride) {
  Vec sums[kStripRows][kPanelVectors];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kStripRows; ++i) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kPanelVectors; ++v) {
      sums[i][v] = Load(out + i * out_stride + v * kLanes);
    }
  }
  for (uint64_t k = 0; k < inner; ++k, strip += kStripRows, panel += kPanelColumns) {
    Vec columns[kPanelVectors];
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kPanelVectors; ++v) {
      columns[v] = Load(panel + v * kLanes);
    }
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kStripRows; ++i) {
      const Vec factor = Broadcast(strip[i]);
      SOFTPACK_UNROLL
      for (uint32_t v = 0; v < kPanelVectors; ++v) {
        sums[i][v] = Fma(factor, columns[v], sums[i][v]);
      }
    }
  }
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kStripRows; ++i) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kPanelVectors; ++v) {
      Store(out + i * out_stride + v * kLanes, sums[i][v]);
    }
  }
}

// A tile that sticks out over the last row or column is computed on the side.
void MultiplyEdge(const float* strip, const float* panel, uint64_t inner, uint64_t rows,
                  uint64_t columns, float* out, uint64_t out_stride) {
  float tile[kStripRows * kPanelColumns] = {};
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < columns; ++j) tile[i * kPanelColumns + j] = out[i * out_stride + j];
  }
  MultiplyTile(strip, panel, inner, tile, kPanelColumns);
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < columns; ++j) out[i * out_stride + j] = tile[i * kPanelColumns + j];
  }
}

void Multiply(const MatrixView& a, const float* panels, uint64_t rows, uint64_t inner,
              uint64_t columns, float* out, uint64_t out_stride, float* scratch) {
  for (uint64_t first = 0; first < rows; first += kRowBlock) {
    const uint64_t block = rows - first < kRowBlock ? rows - first : kRowBlock;
    PackTilesOf<kStripRows>(a.data + first * a.row_stride, a.row_stride, a.column_stride, block,
                            inner, scratch);
    for (uint64_t column = 0; column < columns; column += kPanelColumns) {
      const float* panel = panels + column * inner;
      for (uint64_t row = 0; row < block; row += kStripRows) {
        float* tile = out + (first + row) * out_stride + column;
        const float* strip = scratch + row * inner;
        if (block - row >= kStripRows && columns - column >= kPanelColumns) {
          MultiplyTile(strip, panel, inner, tile, out_stride);
        } else {
          const uint64_t tile_rows = block - row < kStripRows ? block - row : kStripRows;
          const uint64_t tile_columns =
              columns - column < kPanelColumns ? columns - column : kPanelColumns;
          MultiplyEdge(strip, panel, inner, tile_rows, tile_columns, tile, out_stride);
        }
      }
    }
  }
}

// Codewords beyond the last have an infinite norm and are never nearest.
void GroupCodebook(const float* codebook, uint64_t levels, uint64_t width, float* groups) {
  for (uint64_t first = 0; first < levels; first += kGroupSize) {
    const uint64_t present = levels - first < kGroupSize ? levels - first : kGroupSize;
    float* half_norms = groups;
    groups += kGroupSize;
    PackTilesOf<kGroupSize>(codebook + first * width, width, 1, present, width, groups);
    for (uint32_t v = 0; v < kNearestVectors; ++v) {
      Vec norm = Zero();
      for (uint64_t d = 0; d < width; ++d) {
        const Vec mu = Load(groups + d * kGroupSize + v * kLanes);
        norm = Fma(mu, mu, norm);
      }
      Store(half_norms + v * kLanes, Times(Broadcast(0.5f), norm));
    }
    for (uint64_t i = present; i < kGroupSize; ++i) half_norms[i] = __builtin_inff();
    groups += width * kGroupSize;
  }
}

float MarginOf(Best best, Vec second) {
  float scores[kLanes], seconds[kLanes];
  Store(scores, best.score);
  Store(seconds, second);
  float least = scores[0], next = seconds[0];
  for (uint32_t i = 1; i < kLanes; ++i) {
    const float greater = scores[i] > least ? scores[i] : least;
    least = scores[i] < least ? scores[i] : least;
    next = greater < next ? greater : next;
    next = seconds[i] < next ? seconds[i] : next;
  }
  return next - least;
}

// With `margins`, for each vector also by how much the second score is above the first.
template <bool Margins>
SOFTPACK_INLINE void FindNearest(const float* vectors, const float* groups, uint64_t count,
                                 uint64_t width, uint64_t levels, uint16_t* out, float* margins) {
  for (uint64_t first = 0; first < count; first += kNearestRows) {
    // Rows beyond the last repeat it; their results are dropped.
    const uint64_t present = count - first < kNearestRows ? count - first : kNearestRows;
    const float* rows[kNearestRows];
    Best best[kNearestRows];
    Vec second[kNearestRows];
    for (uint32_t i = 0; i < kNearestRows; ++i) {
      rows[i] = vectors + (first + (i < present ? i : present - 1)) * width;
      best[i] = NoBest();
      second[i] = best[i].score;
    }
    const float* group = groups;
    for (uint64_t level = 0; level < levels; level += kGroupSize) {
      Vec scores[kNearestRows][kNearestVectors];
      SOFTPACK_UNROLL
      for (uint32_t v = 0; v < kNearestVectors; ++v) {
        const Vec half_norm = Load(group + v * kLanes);
        SOFTPACK_UNROLL
        for (uint32_t i = 0; i < kNearestRows; ++i) scores[i][v] = half_norm;
      }
      group += kGroupSize;
      for (uint64_t d = 0; d < width; ++d, group += kGroupSize) {
        Vec codes[kNearestVectors];
        SOFTPACK_UNROLL
        for (uint32_t v = 0; v < kNearestVectors; ++v) {
          codes[v] = Load(group + v * kLanes);
        }
        SOFTPACK_UNROLL
        for (uint32_t i = 0; i < kNearestRows; ++i) {
          const Vec value = Broadcast(rows[i][d]);
          SOFTPACK_UNROLL
          for (uint32_t v = 0; v < kNearestVectors; ++v) {
            scores[i][v] = NegatedFma(value, codes[v], scores[i][v]);
          }
        }
      }
      SOFTPACK_UNROLL
      for (uint32_t i = 0; i < kNearestRows; ++i) {
        SOFTPACK_UNROLL
        for (uint32_t v = 0; v < kNearestVectors; ++v) {
          if (Margins) second[i] = Less(second[i], Greater(best[i].score, scores[i][v]));
          best[i] = BetterOf(best[i], scores[i][v], static_cast<uint32_t>(level + v * kLanes));
        }
      }
    }
    for (uint64_t i = 0; i < present; ++i) {
      out[first + i] = LowestOfBest(best[i]);
      if (Margins) margins[first + i] = MarginOf(best[i], second[i]);
    }
  }
}

void Nearest(const float* vectors, const float* groups, uint64_t count, uint64_t width,
             uint64_t levels, uint16_t* out) {
  FindNearest<false>(vectors, groups, count, width, levels, out, nullptr);
}

void NearestMargins(const float* vectors, const float* groups, uint64_t count, uint64_t width,
                    uint64_t levels, uint16_t* out, float* margins) {
  FindNearest<true>(vectors, groups, count, width, levels, out, margins);
}

#include "cpu/cells_simd.h"

#include "cpu/rows_simd.h"

// After the rows.
#include "cpu/head_simd.h"

#include "cpu/kl_simd.h"

#include "cpu/augment_simd.h"

#include "cpu/rans_simd.h"

#include "cpu/quantiser_loops.h"

#include "cpu/quantiser_simd.h"

#include "cpu/token_loops.h"

constexpr KernelTable Table() {
  return {kPanelColumns,
          kInnerBlock,
          kStripRows,
          kRowBlock,
          PackPanels,
          Multiply,
          kGroupSize,
          GroupCodebook,
          Nearest,
          NearestMargins,
          FindCells,
          WeighRows,
          ChainColumns,
          SumRows<float>,
          SumRows<int16_t>,
          WidenRange,
          ToFixed,
          ToBfloat,
          Widen,
          AddPrediction,
          Finish,
          Fence,
          Kl,
          ResizeColumns,
          BlendRows,
          FilterColumns<float>,
          FilterColumns<int32_t>,
          FilterRows<float>,
          FilterRows<int32_t>,
          MixRows,
          DecodeRansRow,
          AdvanceRansTrellis,
          CentreRows,
          SearchTrellis,
          DequantiseValues,
          TokenMaxima,
          TokenMasses,
          TokenExps,
          ReadTokenSets};
}
