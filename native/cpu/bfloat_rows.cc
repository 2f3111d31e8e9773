// Rows by the latent method on a bfloat16 unit: latents and basis rounded to bfloat16, products and
// sums in float32. Split, each factor is high + low, both bfloat16, and of the four products the
// three that matter are added: some 16 bits of each factor instead of 8.
//
// Codewords that lie side by side in a latent vector are rounded once, when the decoder is created,
// and copied 16 bytes at a time: what a copy has beyond its codeword is overwritten by the next.
#include <algorithm>
#include <cstring>

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
        stages_(spec.stages),
        width_(spec.width),
        latent_step_(spec.latent_step),
        codebook_stride_(spec.codebook_stride),
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
        (split_ && !low_.Allocate(panels_ * inner_ * unit_.panel_columns)) ||
        !RoundCodewords(spec)) {
      return kSoftpackOutOfMemory;
    }
    std::fill_n(bias_.data(), stride_, 0.0f);
    if (spec.bias != nullptr) std::copy_n(spec.bias, spec.classes, bias_.data());
    PackBasis(spec);
    return kSoftpackOk;
  }

  uint64_t bytes() const override {
    return bias_.bytes() + latents_.bytes() + BytesOf(high_, low_, high_codewords_, low_codewords_);
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
    const bool copies = CopiesCodewords(block);
    for (uint64_t i = 0; i < padded; ++i) {
      uint16_t* const own_high = high + i * a_stride_;
      uint16_t* const own_low = split_ ? low + i * a_stride_ : nullptr;
      const uint64_t filled = i < block.labels ? latent_ : 0;
      if (filled > 0 && copies) {
        const uint16_t* const indices = block.indices + i * stages_;
        Copy(high_codewords_.data(), indices, own_high);
        if (split_) Copy(low_codewords_.data(), indices, own_low);
      } else if (filled > 0) {
        latents_.Sum(block, i, scratch->latents.data());
        table_.to_bfloat(scratch->latents.data(), latent_, own_high, own_low);
      }
      std::fill(own_high + filled, own_high + a_stride_, uint16_t{0});
      if (split_) std::fill(own_low + filled, own_low + a_stride_, uint16_t{0});
    }
    float* const values = scratch->values.data();
    const uint64_t product = panels_ * unit_.panel_columns;
    for (uint64_t i = 0; i < padded; ++i) {
      std::fill(values + i * stride_ + product, values + (i + 1) * stride_, 0.0f);
    }
    const float* start = bias_.data();
    const auto multiply = [&](const uint16_t* a, const uint16_t* b) {
      unit_.multiply(a, a_stride_, b, padded, inner_, panels_, start, values, stride_);
      start = nullptr;
    };
    // The small products first: they then meet sums of their own size.
    if (split_) {
      multiply(low, high_.data());
      multiply(high, low_.data());
    }
    multiply(high, high_.data());
    *rows = {WholeRow(values), stride_};
    return kSoftpackOk;
  }

 private:
  static constexpr uint64_t kCopied = 16 / sizeof(uint16_t);  // elements at a time

  bool CopiesCodewords(const CodeBlock& block) const {
    return high_codewords_.bytes() > 0 && block.latents == nullptr && block.base_pairs == nullptr;
  }

  // False if allocation fails. Leaves out codewords that overlap or leave gaps.
  bool RoundCodewords(const SoftpackDecoderSpec& spec) {
    if (latent_step_ != width_ || stages_ * width_ != latent_) return true;
    const uint64_t values = (stages_ - 1) * codebook_stride_ + spec.levels * width_;
    const uint64_t copied = values + kCopied;
    if (!high_codewords_.Allocate(copied) || (split_ && !low_codewords_.Allocate(copied))) {
      return false;
    }
    uint16_t* const low = split_ ? low_codewords_.data() : nullptr;
    std::fill_n(high_codewords_.data() + values, kCopied, uint16_t{0});
    if (split_) std::fill_n(low + values, kCopied, uint16_t{0});
    table_.to_bfloat(spec.codebooks, values, high_codewords_.data(), low);
    return true;
  }

  // Writes up to kCopied - 1 elements beyond the latent vector; a row has 32 at least.
  void Copy(const uint16_t* codewords, const uint16_t* indices, uint16_t* to) const {
    for (uint64_t stage = 0; stage < stages_; ++stage, to += width_) {
      const uint16_t* const from =
          codewords + stage * codebook_stride_ + uint64_t{indices[stage]} * width_;
      for (uint64_t d = 0; d < width_; d += kCopied) std::memcpy(to + d, from + d, 16);
    }
  }

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
  const uint64_t stages_;
  const uint64_t width_;
  const uint64_t latent_step_;
  const uint64_t codebook_stride_;
  const bool split_;
  const uint64_t panels_;
  const uint64_t inner_;     // latent, padded
  const uint64_t a_stride_;  // of a row of rounded latents
  const uint64_t stride_;    // of a row of values
  LatentSums latents_;
  Buffer<float> bias_;
  Buffer<uint16_t> high_;  // the basis, as BfloatUnit::multiply reads it
  Buffer<uint16_t> low_;
  Buffer<uint16_t> high_codewords_;  // none: latents are summed and then rounded
  Buffer<uint16_t> low_codewords_;
};

}  // namespace

int CreateBfloatRows(const KernelTable& table, const BfloatUnit& unit,
                     const SoftpackDecoderSpec& spec, bool split,
                     std::unique_ptr<RowSource>* source) {
  return CreateRows<BfloatRows>(spec, source, table, unit, spec, split);
}

}  // namespace softpack
