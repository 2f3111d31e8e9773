// project, nearest and pack, a block of labels at a time: projections and indices never leave the
// cache. 2 * latent * (classes + levels) flops per label; fewer where most codewords are out of
// reach (codebook_cells.h), or labels are nearly all in a few classes (sparse_encoder.h).
#ifndef SOFTPACK_CPU_ENCODER_H_
#define SOFTPACK_CPU_ENCODER_H_

#include "core/backend.h"
#include "cpu/buffer.h"
#include "cpu/codebook_cells.h"
#include "cpu/dispatch.h"
#include "cpu/kernel_table.h"
#include "cpu/packed_matrix.h"
#include "cpu/scratch_pool.h"
#include "cpu/sparse_encoder.h"

struct SoftpackEncoder {
 public:
  // Copies what `spec` points to.
  int Create(const softpack::Isa& isa, const SoftpackEncoderSpec& spec);
  int Encode(const SoftpackEncodeArgs& args) const;
  uint64_t bytes() const {
    return projection_.bytes() + cells_.bytes() + sparse_.bytes() + scratch_.bytes();
  }

 private:
  struct Scratch {
    softpack::Buffer<float> projected;  // [labels, latent]
    softpack::Buffer<float> product;    // of KernelTable::multiply
    softpack::Buffer<uint16_t> indices;
    softpack::SparseScratch sparse;
    softpack::CellScratch cells;

    uint64_t bytes() const {
      return softpack::BytesOf(projected, product, indices) + sparse.bytes() + cells.bytes();
    }
  };

  uint64_t LabelsPerTask(uint64_t count, uint32_t threads) const;
  int FindIndices(const float* labels, uint64_t count, Scratch* scratch) const;
  int EncodeBlock(const SoftpackEncodeArgs& args, uint64_t first, uint64_t labels) const;

  const softpack::KernelTable* table_ = nullptr;
  SoftpackEncoderSpec spec_ = {};  // its pointers are not kept
  softpack::PackedMatrix projection_;
  softpack::CodebookCells cells_;
  softpack::SparseEncoder sparse_;
  mutable softpack::ScratchPool<Scratch> scratch_;
};

#endif  // SOFTPACK_CPU_ENCODER_H_
