// Rows by the latent method: codewords of a block of labels added up in the latent space, then one
// product with the basis: 2 * latent * classes flops a label, whatever the codebook. The basis
// streams from L2 or L3 once a block; a block's latents and rows stay in L2.
#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "cpu/packed_matrix.h"
#include "cpu/row_source.h"

namespace softpack {
namespace {

class LatentRows : public RowSource {
 public:
  LatentRows(const KernelTable& table, const SoftpackDecoderSpec& spec)
      : table_(table), spec_(spec), stride_(PaddedClasses(spec.classes)) {}

  int Create(const SoftpackDecoderSpec& spec) {
    const uint64_t floats = (spec.stages - 1) * spec.codebook_stride + spec.levels * spec.width;
    const uint64_t bases = spec.base_rows * spec.latent;
    if (!codebooks_.Allocate(floats) || !bases_.Allocate(bases) || !bias_.Allocate(stride_)) {
      return kSoftpackOutOfMemory;
    }
    std::copy_n(spec.codebooks, floats, codebooks_.data());
    if (bases > 0) std::copy_n(spec.bases, bases, bases_.data());
    std::fill_n(bias_.data(), stride_, 0.0f);
    if (spec.bias != nullptr) std::copy_n(spec.bias, spec.classes, bias_.data());
    const MatrixView basis{spec.basis, spec.classes, 1};
    return basis_.Pack(table_, basis, spec.latent, spec.classes) ? kSoftpackOk
                                                                 : kSoftpackOutOfMemory;
  }

  uint64_t bytes() const override {
    return bias_.bytes() + codebooks_.bytes() + bases_.bytes() + basis_.bytes();
  }

  uint64_t BlockLabels(uint64_t count, uint64_t threads) const override {
    const uint64_t share = std::max<uint64_t>((count + threads - 1) / threads, 1);
    return std::min<uint64_t>(table_.row_block, RoundUp(share, table_.strip_rows));
  }

  int Rows(const CodeBlock& block, RowScratch* scratch, RowBlock* rows) const override {
    if (!scratch->values.Reserve(block.labels * stride_) ||
        !scratch->latents.Reserve(block.labels * spec_.latent) ||
        !scratch->product.Reserve(ScratchFloats(table_))) {
      return kSoftpackOutOfMemory;
    }
    for (uint64_t i = 0; i < block.labels; ++i) {
      float* const latent = scratch->latents.data() + i * spec_.latent;
      AddCodewords(block.indices + i * spec_.stages, latent);
      if (block.base_pairs != nullptr) AddBases(block, i, latent);
      std::copy_n(bias_.data(), stride_, scratch->values.data() + i * stride_);
    }
    const MatrixView latents{scratch->latents.data(), spec_.latent, 1};
    basis_.MultiplyInto(table_, latents, block.labels, scratch->values.data(), stride_,
                        scratch->product.data());
    *rows = {WholeRow(scratch->values.data()), stride_};
    return kSoftpackOk;
  }

 private:
  void AddCodewords(const uint16_t* indices, float* latent) const {
    const bool apart = spec_.latent_step >= spec_.width;
    std::fill_n(latent, spec_.latent, 0.0f);
    for (uint64_t stage = 0; stage < spec_.stages; ++stage) {
      const float* codeword =
          codebooks_.data() + stage * spec_.codebook_stride + indices[stage] * spec_.width;
      float* const to = latent + stage * spec_.latent_step;
      if (apart)
        std::copy_n(codeword, spec_.width, to);
      else
        for (uint64_t i = 0; i < spec_.width; ++i) to[i] += codeword[i];
    }
  }

  void AddBases(const CodeBlock& block, uint64_t label, float* latent) const {
    const float* const a = bases_.data() + block.base_pairs[2 * label] * spec_.latent;
    const float* const b = bases_.data() + block.base_pairs[2 * label + 1] * spec_.latent;
    const float weight = block.base_weights[label];
    for (uint64_t i = 0; i < spec_.latent; ++i) {
      latent[i] = std::fmaf(weight, a[i], std::fmaf(1.0f - weight, b[i], latent[i]));
    }
  }

  const KernelTable& table_;
  const SoftpackDecoderSpec spec_;  // its pointers are not kept
  const uint64_t stride_;
  Buffer<float> bias_;  // [stride], zeros in the padding
  Buffer<float> codebooks_;
  Buffer<float> bases_;
  PackedMatrix basis_;
};

}  // namespace

int CreateLatentRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                     std::unique_ptr<RowSource>* source) {
  auto created = std::unique_ptr<LatentRows>(new (std::nothrow) LatentRows(table, spec));
  if (created == nullptr) return kSoftpackOutOfMemory;
  const int status = created->Create(spec);
  if (status == kSoftpackOk) *source = std::move(created);
  return status;
}

}  // namespace softpack
