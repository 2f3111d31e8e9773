// A decoder of the general form: looked-up vectors summed, then a head (see SoftpackDecoderSpec).
//
// Two methods. `latent` adds codewords up in the latent space, a block of labels at a time, and
// multiplies the block by the basis: latent * classes multiply-adds a label. `table` holds every
// codeword times its part of the basis, stages * levels rows of `classes` floats, and adds up one
// row a stage: stages * classes additions a label, bound by how fast the rows come from cache or
// memory. The choice depends on the spec alone: the methods round differently, and a label's bytes
// must depend neither on the machine nor on what else was decoded.
#ifndef SOFTPACK_CPU_DECODER_H_
#define SOFTPACK_CPU_DECODER_H_

#include "core/backend.h"
#include "cpu/buffer.h"
#include "cpu/kernel_table.h"
#include "cpu/packed_matrix.h"

struct SoftpackDecoder {
 public:
  // Copies what `spec` points to.
  int Create(const softpack::KernelTable& table, const SoftpackDecoderSpec& spec);
  int Decode(const SoftpackDecodeArgs& args) const;
  SoftpackDecoderInfo Info() const;

 private:
  struct Scratch;

  int BuildLatent(const SoftpackDecoderSpec& spec);
  int BuildTable(const SoftpackDecoderSpec& spec);
  int BuildStage(const SoftpackDecoderSpec& spec, uint64_t stage);
  uint64_t LabelsATask(const SoftpackDecodeArgs& args) const;
  int DecodeBlock(const SoftpackDecodeArgs& args, uint64_t first, uint64_t count) const;
  int ReadIndices(const SoftpackDecodeArgs& args, uint64_t position, uint16_t* indices) const;
  void AddCodewords(const uint16_t* indices, float* latent) const;
  void Finish(const SoftpackDecodeArgs& args, uint64_t position, float* values) const;

  const softpack::KernelTable* table_ = nullptr;
  SoftpackDecoderSpec spec_ = {};  // its pointers are not kept
  softpack::Head head_ = {};
  // Floats of a row of values: `classes`, padded for whole panels and head sums.
  uint64_t stride_ = 0;
  softpack::Buffer<float> bias_;       // [stride], zeros in the padding
  softpack::Buffer<float> codebooks_;  // latent only
  softpack::PackedMatrix basis_;       // latent only
  softpack::Buffer<float> rows_;       // table only: [stages, levels, stride]
};

#endif  // SOFTPACK_CPU_DECODER_H_
