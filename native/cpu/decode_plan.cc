#include "cpu/decode_plan.h"

#include "cpu/row_source.h"

namespace softpack {
namespace {

// Every thread of a loader may hold a decoder, and batches of a few hundred labels do not pay for
// reading more: of the paper's settings this holds (20, 1024) and shorter labels in fixed point.
constexpr uint64_t kDefaultCap = uint64_t{128} << 20;
// Adding an element of a float32 table takes as long as this many multiply-adds of the product.
constexpr uint64_t kTableCost = 4;
// The same of a fixed-point table, 0.34 ns for 32 elements from L2 against 0.55 ns for as many
// multiply-adds, and half as much again for reading slices, panels and indices.
constexpr double kFixedCost = 2.5;

bool Fits(const SoftpackDecoderSpec& spec, uint64_t element_bytes) {
  const auto columns = static_cast<double>(PaddedClasses(spec.classes));
  const double rows = static_cast<double>(spec.stages) * static_cast<double>(spec.levels);
  const double bytes = (rows * static_cast<double>(element_bytes) +
                        static_cast<double>(spec.base_rows) * sizeof(float)) *
                       columns;
  return bytes <= static_cast<double>(spec.memory_cap == 0 ? kDefaultCap : spec.memory_cap);
}

}  // namespace

uint32_t ChooseMethod(const SoftpackDecoderSpec& spec, const BfloatUnit* bfloat) {
  const bool fixed = spec.precision != kSoftpackPrecisionExact && Fits(spec, sizeof(int16_t));
  if (spec.precision == kSoftpackPrecisionFastest && bfloat != nullptr) {
    const double product = static_cast<double>(spec.latent) / bfloat->speed;
    if (!fixed || product < kFixedCost * static_cast<double>(spec.stages)) {
      return kSoftpackMethodBfloat;
    }
  }
  if (fixed) return kSoftpackMethodFixed;
  const bool faster = spec.stages * kTableCost <= spec.latent;
  return faster && Fits(spec, sizeof(float)) ? kSoftpackMethodTable : kSoftpackMethodLatent;
}

}  // namespace softpack
