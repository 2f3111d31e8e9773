// Rows by the latent method: codewords of a block of labels added up in the latent space, then one
// product with the basis: 2 * latent * classes flops a label, whatever the codebook. The basis
// streams from L2 or L3 once a block; a block's latents and rows stay in L2.
#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/latent_sums.h"
#include "cpu/packed_matrix.h"
#include "cpu/row_source.h"

namespace softpack {
namespace {

class LatentRows : public RowSource {
 public:
  LatentRows(const KernelTable& table, const SoftpackDecoderSpec& spec)
      : table_(table), latent_(spec.latent), stride_(PaddedClasses(spec.classes)) {}

  int Create(const SoftpackDecoderSpec& spec) {
    if (!latents_.Create(spec) || !bias_.Allocate(stride_)) return kSoftpackOutOfMemory;
    std::fill_n(bias_.data(), stride_, 0.0f);
    if (spec.bias != nullptr) std::copy_n(spec.bias, spec.classes, bias_.data());
    const MatrixView basis{spec.basis, spec.classes, 1};
    return basis_.Pack(table_, basis, spec.latent, spec.classes) ? kSoftpackOk
                                                                 : kSoftpackOutOfMemory;
  }

  uint64_t bytes() const override { return bias_.bytes() + latents_.bytes() + basis_.bytes(); }

  uint64_t BlockLabels(uint64_t count, uint64_t threads) const override {
    return BlockSize(count, threads, table_.strip_rows, table_.row_block);
  }

  int Rows(const CodeBlock& block, RowScratch* scratch, RowBlock* rows) const override {
    if (!scratch->values.Reserve(block.labels * stride_) ||
        !scratch->latents.Reserve(block.labels * latent_) ||
        !scratch->product.Reserve(ScratchFloats(table_))) {
      return kSoftpackOutOfMemory;
    }
    for (uint64_t i = 0; i < block.labels; ++i) {
      latents_.Sum(block, i, scratch->latents.data() + i * latent_);
      std::copy_n(bias_.data(), stride_, scratch->values.data() + i * stride_);
    }
    const MatrixView latents{scratch->latents.data(), latent_, 1};
    basis_.MultiplyInto(table_, latents, block.labels, scratch->values.data(), stride_,
                        scratch->product.data());
    *rows = {WholeRow(scratch->values.data()), stride_};
    return kSoftpackOk;
  }

 private:
  const KernelTable& table_;
  const uint64_t latent_;
  const uint64_t stride_;
  LatentSums latents_;
  Buffer<float> bias_;  // [stride], zeros in the padding
  PackedMatrix basis_;
};

}  // namespace

int CreateLatentRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                     std::unique_ptr<RowSource>* source) {
  return CreateRows<LatentRows>(spec, source, table, spec);
}

}  // namespace softpack
