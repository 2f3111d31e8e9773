// What the inner loop of codebook_cells.h, KernelTable::find_cells, takes and gives.
#ifndef SOFTPACK_CPU_CELL_SEARCH_H_
#define SOFTPACK_CPU_CELL_SEARCH_H_

#include <cstdint>

namespace softpack {

constexpr uint32_t kCellLevels = 16;  // codewords of a cell
constexpr uint32_t kCellAxes = 8;     // at most
constexpr uint32_t kCellRows = 16;    // vectors of a call, at most
// Vectors whose squared length is outside are left undecided: within, nothing overflows, and what
// underflows is below the bounds.
constexpr float kLeastSquare = 0x1p-80f, kGreatestSquare = 0x1p80f;
// Bounds of squared distances are taken this much greater.
constexpr float kCellExcess = 1.0005f;
// Below the square of how far any such vector is outside of a cell that is none.
constexpr float kNoCell = 0x1p100f;

struct CellIndex {
  const float* axes;       // [axis, stride]
  const float* least;      // [axis, padded] of the codewords of a cell, along an axis
  const float* greatest;   // the same
  const float* codewords;  // [cell, 1 + width, kCellLevels] half norms, elements
  const uint32_t* levels;  // [cells, kCellLevels] their indices in the codebook
  uint64_t width;
  uint64_t stride;  // width, to whole vectors, zeros at the end
  uint64_t cells;
  uint64_t padded;      // cells, to whole vectors
  uint32_t axis_count;  // at most kCellAxes
  float of_square;      // what float32 may have rounded, of |h|^2
  float of_length;      // and of |h|, in what lies outside a cell
};

struct CellCall {
  const float* vectors;  // [count, width]
  const float* slack;    // [count], or null for none
  uint64_t count;        // at most kCellRows
  uint64_t most;         // cells to look into per vector; a vector that needs more stays undecided
  float* distances;      // [kCellRows, padded], working memory
  uint32_t* list;        // [kCellRows * padded + 64], the same
  uint16_t* out;
  float* margins;  // null: not wanted
};

struct CellResult {
  uint64_t looked_into;  // cells
  uint32_t undecided;    // vectors, as bits
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_CELL_SEARCH_H_
