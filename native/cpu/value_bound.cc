#include "cpu/value_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace softpack {
namespace {

// Well below the largest float32, 3.4e38: room for every rounding on the way.
constexpr double kLargest = 1e37;

// No element of the latent vector of codewords is larger.
double LatentBound(const SoftpackDecoderSpec& spec) {
  const uint64_t codewords = spec.levels * spec.width;
  double greatest = 0, sum = 0;
  for (uint64_t stage = 0; stage < spec.stages; ++stage) {
    // Stages may share one codebook.
    if (stage == 0 || spec.codebook_stride != 0) {
      greatest = Greatest(spec.codebooks + stage * spec.codebook_stride, codewords);
    }
    sum = spec.latent_step >= spec.width ? std::max(sum, greatest) : sum + greatest;
  }
  return sum;
}

// The greatest sum of magnitudes in a column of the basis.
double ColumnBound(const SoftpackDecoderSpec& spec) {
  double greatest = 0;
  for (uint64_t k = 0; k < spec.latent; ++k) {
    greatest += Greatest(spec.basis + k * spec.classes, spec.classes);
  }
  return greatest;
}

}  // namespace

double Greatest(const float* values, uint64_t count) {
  double greatest = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const double magnitude = std::fabs(values[i]);
    // Also true for NaN.
    if (!(magnitude <= greatest)) greatest = magnitude;
    if (!std::isfinite(greatest)) return std::numeric_limits<double>::infinity();
  }
  return greatest;
}

double LargestLatent(const SoftpackDecoderSpec& spec) {
  const double bias = spec.bias == nullptr ? 0 : Greatest(spec.bias, spec.classes);
  const double column = ColumnBound(spec);
  return column > 0 ? (kLargest - bias) / column : kLargest - bias;
}

bool MayOverflow(const SoftpackDecoderSpec& spec) {
  double latent = LatentBound(spec);
  if (spec.bases != nullptr) latent += 2 * Greatest(spec.bases, spec.base_rows * spec.latent);
  double value = latent * ColumnBound(spec);
  if (spec.bias != nullptr) value += Greatest(spec.bias, spec.classes);
  if (spec.head == kSoftpackHeadClamp) {
    const double largest = std::max<double>(value, spec.head_parameter);
    value = largest * static_cast<double>(spec.classes);
  }
  return !(value <= kLargest);
}

}  // namespace softpack
