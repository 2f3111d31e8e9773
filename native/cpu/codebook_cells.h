// The nearest codeword without looking at most of them: the indices of KernelTable::nearest, to the
// bit, on every input.
//
// Codewords are ordered into cells of 16 that lie close together: halved again and again along one
// of the codebook's leading principal axes (a k-d tree, of which only the leaves are kept). Each
// cell knows its range on these axes. A vector is placed on the axes too; the sum of squares of how
// far it is outside of a cell's ranges is at most the squared distance of any of its codewords. The
// codewords of the cell where this is least are scored in float32 as KernelTable::nearest does, and
// then those of every cell that is not certain to be farther; ties go to the lowest index.
//
// Segments of labels' latent vectors have few directions: labels of 1,000 classes hold about a
// hundred that matter, spread over all segments. The bench's vectors need 2 to 3 cells of 4 to 128.
// Where vectors have no such structure, or are not finite, all codewords are scored as before.
//
// The bound. Let a score in float32 be f_j, exactly s_j = |c_j|^2 / 2 - h.c_j, so that the squared
// distance is D_j^2 = |h|^2 + 2 s_j, and let f be the least score of the first cell. With r =
// kScoreRounding (width + 2) (core/nearest_bound.h), |f_j - s_j| <= r (|c_j|^2 / 2 + |h| |c_j|) <=
// r (2.5 |h|^2 + 2 D_j^2), for |c_j| <= |h| + D_j. So if f_j <= f, then D_j^2 (1 - 4 r) <= |h|^2 +
// 2 f + 5 r |h|^2. Computing |h|^2 and the sum in float32 adds at most ((width + 2) 2^-24 + 2^-22)
// |h|^2. A place on an axis, a sum over the width, errs by (width + 2) 2^-24 |h|, which moves
// what is outside of a cell by at most that times the square root of the number of axes.
// kCellExcess covers 4 r, the axes' length beyond 1 (at most 1e-5) and what is rounded in squares,
// sums and roots. Ranges of cells are rounded outwards.
//
// Counted cost per vector, in multiply-adds of 16 lanes: (width / 16 + 3) (axes + 1) for its
// places, levels / 256 * axes * 3 for the distances to cells, 2 width per cell that is looked into,
// and about 60.
#ifndef SOFTPACK_CPU_CODEBOOK_CELLS_H_
#define SOFTPACK_CPU_CODEBOOK_CELLS_H_

#include "cpu/buffer.h"
#include "cpu/dispatch.h"
#include "cpu/kernel_table.h"

namespace softpack {

struct CellScratch {
  Buffer<float> distances;
  Buffer<uint32_t> list;
  Buffer<uint32_t> undecided;  // of a chunk, and their vectors, indices and margins
  Buffer<float> vectors;
  Buffer<uint16_t> indices;
  Buffer<float> margins;
  uint64_t looked_into = 0;  // cells so far, for tests

  uint64_t bytes() const { return BytesOf(distances, list, undecided, vectors, indices, margins); }
};

// Vectors to find the nearest codewords of. With `margins`, also by how much the second score is
// above the first, as of KernelTable::nearest_margins; one that is above slack[i] may be any number
// above it.
struct NearestCall {
  const float* vectors;
  uint64_t count;
  uint16_t* out;
  const float* slack;
  float* margins;
};

class CodebookCells {
 public:
  // Returns false if allocation fails.
  bool Create(const Isa& isa, const float* codebook, uint64_t levels, uint64_t width);
  // Whether a codebook of this many levels is worth it for this many vectors.
  static bool Suits(const Isa& isa, uint64_t levels, uint64_t width, uint64_t count);

  int Find(const NearestCall& call, CellScratch* scratch) const;

  uint64_t bytes() const {
    return BytesOf(groups_, axes_, least_, greatest_, ordered_, levels_of_);
  }

 private:
  bool HasCells() const { return index_.cells > 0; }
  bool MakeCells(const float* codebook);
  uint64_t FindChunk(const NearestCall& call, CellScratch* scratch, uint64_t* work) const;
  void FindUndecided(const NearestCall& call, uint64_t undecided, CellScratch* scratch) const;
  void FindInFull(const NearestCall& call) const;

  const KernelTable* table_ = nullptr;
  uint64_t levels_ = 0;
  uint64_t width_ = 0;
  CellIndex index_ = {};
  Buffer<float> groups_;  // of the codebook as it is
  Buffer<float> axes_;
  Buffer<float> least_;
  Buffer<float> greatest_;
  Buffer<float> ordered_;
  Buffer<uint32_t> levels_of_;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_CODEBOOK_CELLS_H_
