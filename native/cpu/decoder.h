// A decoder of the general form: looked-up vectors summed, then a head (see SoftpackDecoderSpec).
//
// Rows of values come from one of several sources, block by block:
//   latent  codewords added up in the latent space, then a product with the basis: latent * classes
//           multiply-adds per label
//   table   float32 rows of `classes`, stages * levels of them, one added per stage
//   fixed   the same rows in 16-bit fixed point: half the bytes, 32 additions per instruction
//   bfloat  as latent, on the processor's bfloat16 unit
//   split   as bfloat, with three products for both parts of each factor
// What `exact` and `fast` choose depends on the spec alone: the methods round differently, and a
// label's bytes must depend neither on the machine nor on what else was decoded.
#ifndef SOFTPACK_CPU_DECODER_H_
#define SOFTPACK_CPU_DECODER_H_

#include <memory>

#include "core/backend.h"
#include "cpu/dispatch.h"
#include "cpu/kernel_table.h"
#include "cpu/row_source.h"
#include "cpu/scratch_pool.h"

struct SoftpackDecoder {
 public:
  // Copies what `spec` points to.
  int Create(const softpack::Isa& isa, const SoftpackDecoderSpec& spec);
  int Decode(const SoftpackDecodeArgs& args) const;
  int DecodeKl(const SoftpackDecodeKlArgs& args) const;
  SoftpackDecoderInfo Info() const;

 private:
  int CreateRows(const softpack::Isa& isa, const SoftpackDecoderSpec& spec);
  int ReadIndices(const SoftpackLabels& labels, uint64_t first, uint64_t count,
                  uint16_t* indices) const;
  int CheckBasePairs(const SoftpackLabels& labels) const;
  bool NeedsCare(const SoftpackLabels& labels) const;
  bool GivesLabel(const softpack::RowView& row, softpack::RowScratch* scratch) const;
  // Calls consume(i, row, scratch) for each label.
  template <class Consume>
  int ForEachRow(const SoftpackLabels& labels, uint32_t threads, const Consume& consume) const;
  template <class Consume>
  int ForEachRowOf(const SoftpackLabels& labels, uint64_t first, uint64_t count, bool careful,
                   const Consume& consume) const;
  const float* AddPrediction(const SoftpackLabels& labels, uint64_t label,
                             const softpack::RowView& row, softpack::RowScratch* scratch) const;

  const softpack::KernelTable* table_ = nullptr;
  SoftpackDecoderSpec spec_ = {};  // its pointers are not kept
  softpack::Head head_ = {};
  uint64_t stride_ = 0;  // padded classes
  bool may_overflow_ = false;
  std::unique_ptr<softpack::RowSource> rows_;
  mutable softpack::ScratchPool<softpack::RowScratch> scratch_;
};

#endif  // SOFTPACK_CPU_DECODER_H_
