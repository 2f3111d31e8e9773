// Codes of labels that are nearly all in a few classes, without the full projection: 2 * latent
// flops per class that is kept instead of per class.
//
// The codes are still those of the full projection, to the bit. What is left out moves a segment of
// h by at most B, and so no score by more than E, a bound of B times the longest codeword and of
// what float32 rounding does on either way. If the second score is more than 2 E above the
// first, the full projection chooses the same codeword; any other segment is projected in full.
#ifndef SOFTPACK_CPU_SPARSE_ENCODER_H_
#define SOFTPACK_CPU_SPARSE_ENCODER_H_

#include "core/backend.h"
#include "cpu/buffer.h"
#include "cpu/codebook_cells.h"
#include "cpu/kernel_table.h"

namespace softpack {

// Classes that are kept, and magnitudes of all and of those that are not, summed.
struct KeptLabel {
  uint64_t kept;
  double mass;
  double dropped;
};

struct SparseScratch {
  Buffer<uint16_t> kept;     // [labels, classes] classes above the threshold, then
  Buffer<float> weights;     // [labels, classes] their values
  Buffer<KeptLabel> labels;  // [labels]
  Buffer<float> projected;   // [labels, padded latent]
  Buffer<float> segments;    // [labels, segments, width]
  Buffer<float> slack;       // [labels, segments] margins that are sure
  Buffer<float> margins;     // [labels, segments]
  Buffer<uint32_t> unsure;   // [segments] segments of a label to project in full
  Buffer<uint32_t> starts;   // first columns of their chains
  Buffer<float> chains;

  uint64_t bytes() const {
    return BytesOf(kept, weights, labels, projected, segments, slack, margins, unsure, starts,
                   chains);
  }
};

class SparseEncoder {
 public:
  // Returns false if allocation fails.
  bool Create(const KernelTable& table, const SoftpackEncoderSpec& spec);

  // Keeps the classes of `labels` rows that matter. Returns false if this method does not suit the
  // spec, if they are too many to save time, or if a value is not finite.
  bool Keep(const float* labels, uint64_t count, SparseScratch* scratch, int* status) const;

  // indices [count, segments] of labels that were kept.
  int Encode(const float* labels, uint64_t count, const CodebookCells& cells,
             SparseScratch* scratch, CellScratch* cell_scratch, uint16_t* indices) const;

  uint64_t bytes() const { return projection_.bytes(); }

 private:
  uint64_t segments() const { return spec_.latent / spec_.width; }
  double ScoreError(const KeptLabel& label) const;
  int EncodeInFull(const float* label, uint64_t unsure, const CodebookCells& cells,
                   SparseScratch* scratch, CellScratch* cell_scratch, uint16_t* indices) const;

  const KernelTable* table_ = nullptr;
  SoftpackEncoderSpec spec_ = {};  // its pointers are not kept
  uint64_t stride_ = 0;            // of a row of the projection
  // [classes, stride], kChainFloats more at the end; empty if this method does not suit the spec.
  Buffer<float> projection_;
  double longest_row_ = 0;  // of the projection's rows within a segment
  double longest_codeword_ = 0;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_SPARSE_ENCODER_H_
