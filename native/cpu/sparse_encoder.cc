#include "cpu/sparse_encoder.h"

#include <algorithm>
#include <cmath>

#include "core/nearest_bound.h"
#include "cpu/packed_matrix.h"

namespace softpack {
namespace {

// Approximate share of a label's mass that all omitted classes may hold together.
constexpr double kDroppedMass = 1e-6;
// Beyond this share of the classes the full projection is as fast.
constexpr uint64_t kLeastSparsity = 4;
// Shorter segments have so many codewords that are nearly as near that too few are sure.
constexpr uint64_t kLeastWidth = 8;

double LongestSquare(const float* rows, uint64_t count, uint64_t width) {
  double longest = 0;
  for (uint64_t i = 0; i < count; ++i, rows += width) {
    double square = 0;
    for (uint64_t d = 0; d < width; ++d) square += static_cast<double>(rows[d]) * rows[d];
    // Written so that a NaN stays.
    if (!(square <= longest)) longest = square;
  }
  return longest;
}

// Sum of magnitudes, to some units of float64.
double MassOf(const float* label, uint64_t classes) {
  double sums[8] = {};
  uint64_t j = 0;
  for (; j + 8 <= classes; j += 8) {
    for (uint64_t i = 0; i < 8; ++i) sums[i] += std::fabs(label[j + i]);
  }
  for (; j < classes; ++j) sums[0] += std::fabs(label[j]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

bool SparseEncoder::Create(const KernelTable& table, const SoftpackEncoderSpec& spec) {
  table_ = &table;
  spec_ = spec;
  longest_row_ = std::sqrt(LongestSquare(spec.projection, spec.classes * segments(), spec.width));
  longest_codeword_ = std::sqrt(LongestSquare(spec.codebook, spec.levels, spec.width));
  const bool usable = spec.width >= kLeastWidth && spec.classes <= 65536 &&
                      std::isfinite(longest_row_ * longest_codeword_);
  if (!usable) return true;
  stride_ = RoundUp(spec.latent, 16);
  if (!projection_.Allocate(spec.classes * stride_ + kChainFloats)) return false;
  std::fill_n(projection_.data(), spec.classes * stride_ + kChainFloats, 0.0f);
  for (uint64_t j = 0; j < spec.classes; ++j) {
    std::copy_n(spec.projection + j * spec.latent, spec.latent, projection_.data() + j * stride_);
  }
  return true;
}

bool SparseEncoder::Keep(const float* labels, uint64_t count, SparseScratch* scratch,
                         int* status) const {
  const uint64_t most = spec_.classes / kLeastSparsity;
  *status = kSoftpackOk;
  if (!projection_) return false;
  if (!scratch->kept.Reserve(count * most + 1) || !scratch->weights.Reserve(count * most + 1) ||
      !scratch->labels.Reserve(count)) {
    *status = kSoftpackOutOfMemory;
    return false;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const float* const label = labels + i * spec_.classes;
    const double mass = MassOf(label, spec_.classes);
    if (!std::isfinite(mass)) return false;
    const float threshold =
        static_cast<float>(mass * kDroppedMass / static_cast<double>(spec_.classes));
    uint64_t kept = 0;
    double kept_mass = 0;
    for (uint64_t j = 0; j < spec_.classes; ++j) {
      if (std::fabs(label[j]) <= threshold) continue;
      if (kept == most) return false;
      scratch->kept.data()[i * most + kept] = static_cast<uint16_t>(j);
      scratch->weights.data()[i * most + kept] = label[j];
      kept_mass += std::fabs(label[j]);
      ++kept;
    }
    // Both sums are rounded to float64.
    scratch->labels.data()[i] = {kept, mass, std::max(mass - kept_mass, 0.0) + 1e-12 * mass};
  }
  return true;
}

// Bound on the difference of a score from that of the full projection. A fused multiply-add rounds
// its result by at most 2^-24 of it, and by no more than the term that it adds, for the sum
// without the term is a float too: the full chain rounds each class that is left out by at most
// what that class adds.
double SparseEncoder::ScoreError(const KeptLabel& label) const {
  const double length = label.mass * longest_row_;  // no segment of h is longer
  const double chains = 2.0 * (static_cast<double>(label.kept) + 1) * kChainRounding;
  const double moved = 1.01 * (2.0 * label.dropped * longest_row_ + chains * length);
  const double score = longest_codeword_ * (0.5 * longest_codeword_ + length + moved);
  const double rounded = kScoreRounding * (static_cast<double>(spec_.width) + 2) * score;
  return moved * longest_codeword_ + rounded;
}

int SparseEncoder::Encode(const float* labels, uint64_t count, const CodebookCells& cells,
                          SparseScratch* scratch, CellScratch* cell_scratch,
                          uint16_t* indices) const {
  const uint64_t most = spec_.classes / kLeastSparsity;
  if (!scratch->projected.Reserve(stride_) || !scratch->segments.Reserve(count * spec_.latent) ||
      !scratch->slack.Reserve(count * segments()) ||
      !scratch->margins.Reserve(count * segments()) || !scratch->unsure.Reserve(segments())) {
    return kSoftpackOutOfMemory;
  }
  for (uint64_t i = 0; i < count; ++i) {
    table_->weigh_rows(projection_.data(), stride_, scratch->kept.data() + i * most,
                       scratch->weights.data() + i * most, scratch->labels.data()[i].kept, stride_,
                       scratch->projected.data());
    std::copy_n(scratch->projected.data(), spec_.latent,
                scratch->segments.data() + i * spec_.latent);
    // Rounded up.
    const double sure = 2 * ScoreError(scratch->labels.data()[i]);
    std::fill_n(scratch->slack.data() + i * segments(), segments(),
                static_cast<float>(1.0001 * sure));
  }
  const int found = cells.Find({scratch->segments.data(), count * segments(), indices,
                                scratch->slack.data(), scratch->margins.data()},
                               cell_scratch);
  if (found != kSoftpackOk) return found;
  for (uint64_t i = 0; i < count; ++i) {
    const float* const label = labels + i * spec_.classes;
    const double sure = 2 * ScoreError(scratch->labels.data()[i]);
    uint64_t unsure = 0;
    for (uint64_t s = 0; s < segments(); ++s) {
      const bool holds = scratch->margins.data()[i * segments() + s] > sure;
      if (!holds) scratch->unsure.data()[unsure++] = static_cast<uint32_t>(s);
    }
    if (unsure == 0) continue;
    const int status =
        EncodeInFull(label, unsure, cells, scratch, cell_scratch, indices + i * segments());
    if (status != kSoftpackOk) return status;
  }
  return kSoftpackOk;
}

// Replaces the indices of the first `unsure` segments in scratch->unsure.
int SparseEncoder::EncodeInFull(const float* label, uint64_t unsure, const CodebookCells& cells,
                                SparseScratch* scratch, CellScratch* cell_scratch,
                                uint16_t* indices) const {
  const uint64_t chains = (spec_.width + kChainFloats - 1) / kChainFloats;
  if (!scratch->starts.Reserve(segments() * chains) ||
      !scratch->chains.Reserve(segments() * chains * kChainFloats)) {
    return kSoftpackOutOfMemory;
  }
  for (uint64_t i = 0; i < unsure; ++i) {
    for (uint64_t c = 0; c < chains; ++c) {
      scratch->starts.data()[i * chains + c] =
          static_cast<uint32_t>(scratch->unsure.data()[i] * spec_.width + c * kChainFloats);
    }
  }
  table_->chain_columns(projection_.data(), stride_, label, spec_.classes, scratch->starts.data(),
                        unsure * chains, scratch->chains.data());
  for (uint64_t i = 0; i < unsure; ++i) {
    // Chains of one segment lie side by side.
    const int status = cells.Find({scratch->chains.data() + i * chains * kChainFloats, 1,
                                   indices + scratch->unsure.data()[i], nullptr, nullptr},
                                  cell_scratch);
    if (status != kSoftpackOk) return status;
  }
  return kSoftpackOk;
}

}  // namespace softpack
