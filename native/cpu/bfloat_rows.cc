// Rows by the latent method on a bfloat16 unit: latents and basis rounded to bfloat16, products and
// sums in float32. Split, each factor is high + low, both bfloat16, and of the four products the
// three that matter are added: some 16 bits of each factor instead of 8.
#include <algorithm>

#include "core/scalar_math.h"
#include "cpu/bfloat_unit.h"
#include "cpu/latent_sums.h"
#include "cpu/packed_matrix.h"
#include "cpu/row_source.h"

namespace softpack {
namespace {

class BfloatRows : public RowSource {
 public:
  BfloatRows(const KernelTable& table, const BfloatUnit& unit, const SoftpackDecoderSpec& spec,
             bool split)
      : table_(table),
        unit_(unit),
        latent_(spec.latent),
        split_(split),
        panels_((spec.classes + unit.panel_columns - 1) / unit.panel_columns),
        inner_(RoundUp(spec.latent, unit.inner_unit)),
        // Strides of an odd number of lines: rows at a power of two share the sets of a cache.
        a_stride_(RoundUp(inner_, 64) + 32),
        stride_(RoundUp(std::max(PaddedClasses(spec.classes), panels_ * unit.panel_columns), 32) +
                16) {}

  int Create(const SoftpackDecoderSpec& spec) {
    if (!latents_.Create(spec) || !bias_.Allocate(stride_) ||
        !high_.Allocate(panels_ * inner_ * unit_.panel_columns) ||
        (split_ && !low_.Allocate(panels_ * inner_ * unit_.panel_columns))) {
      return kSoftpackOutOfMemory;
    }
    std::fill_n(bias_.data(), stride_, 0.0f);
    if (spec.bias != nullptr) std::copy_n(spec.bias, spec.classes, bias_.data());
    PackBasis(spec);
    return kSoftpackOk;
  }

  uint64_t bytes() const override {
    return bias_.bytes() + latents_.bytes() + high_.bytes() + low_.bytes();
  }

  uint64_t BlockLabels(uint64_t count, uint64_t threads) const override {
    return BlockSize(count, threads, unit_.row_unit, unit_.row_block);
  }

  int Rows(const CodeBlock& block, RowScratch* scratch, RowBlock* rows) const override {
    const uint64_t padded = RoundUp(block.labels, unit_.row_unit);
    const uint64_t parts = split_ ? 2 : 1;
    if (!scratch->values.Reserve(padded * stride_) || !scratch->latents.Reserve(latent_) ||
        !scratch->bfloats.Reserve(parts * padded * a_stride_)) {
      return kSoftpackOutOfMemory;
    }
    uint16_t* const high = scratch->bfloats.data();
    uint16_t* const low = split_ ? high + padded * a_stride_ : nullptr;
    std::fill_n(high, parts * padded * a_stride_, uint16_t{0});
    for (uint64_t i = 0; i < padded; ++i) {
      std::copy_n(bias_.data(), stride_, scratch->values.data() + i * stride_);
      if (i >= block.labels) continue;
      latents_.Sum(block, i, scratch->latents.data());
      table_.to_bfloat(scratch->latents.data(), latent_, high + i * a_stride_,
                       split_ ? low + i * a_stride_ : nullptr);
    }
    float* const values = scratch->values.data();
    // The small products first: they then meet sums of their own size.
    if (split_) {
      unit_.multiply(low, a_stride_, high_.data(), padded, inner_, panels_, values, stride_);
      unit_.multiply(high, a_stride_, low_.data(), padded, inner_, panels_, values, stride_);
    }
    unit_.multiply(high, a_stride_, high_.data(), padded, inner_, panels_, values, stride_);
    *rows = {WholeRow(values), stride_};
    return kSoftpackOk;
  }

 private:
  void PackBasis(const SoftpackDecoderSpec& spec) {
    const uint64_t columns = unit_.panel_columns;
    std::fill_n(high_.data(), panels_ * inner_ * columns, uint16_t{0});
    if (split_) std::fill_n(low_.data(), panels_ * inner_ * columns, uint16_t{0});
    for (uint64_t k = 0; k < spec.latent; ++k) {
      for (uint64_t j = 0; j < spec.classes; ++j) {
        const float value = spec.basis[k * spec.classes + j];
        const uint64_t at =
            j / columns * inner_ * columns + (k / 2 * columns + j % columns) * 2 + k % 2;
        high_.data()[at] = scalar::FloatToBfloat(value);
        if (split_) low_.data()[at] = scalar::LowBfloat(value);
      }
    }
  }

  const KernelTable& table_;
  const BfloatUnit& unit_;
  const uint64_t latent_;
  const bool split_;
  const uint64_t panels_;
  const uint64_t inner_;     // latent, padded
  const uint64_t a_stride_;  // of a row of rounded latents
  const uint64_t stride_;    // of a row of values
  LatentSums latents_;
  Buffer<float> bias_;
  Buffer<uint16_t> high_;  // the basis, as BfloatUnit::multiply reads it
  Buffer<uint16_t> low_;
};

}  // namespace

int CreateBfloatRows(const KernelTable& table, const BfloatUnit& unit,
                     const SoftpackDecoderSpec& spec, bool split,
                     std::unique_ptr<RowSource>* source) {
  return CreateRows<BfloatRows>(spec, source, table, unit, spec, split);
}

}  // namespace softpack
