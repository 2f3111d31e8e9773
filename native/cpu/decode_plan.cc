#include "cpu/decode_plan.h"

#include "cpu/row_source.h"

namespace softpack {
namespace {

// Holds the fixed-point tables of the paper's largest setting, 318 MiB at (795, 5, 1024).
constexpr uint64_t kDefaultCap = uint64_t{320} << 20;
// Adding an element of a float32 table takes as long as this many multiply-adds of the product.
constexpr uint64_t kTableCost = 4;

bool Fits(const SoftpackDecoderSpec& spec, uint64_t element_bytes) {
  const double columns = static_cast<double>(PaddedClasses(spec.classes));
  const double bytes = static_cast<double>(spec.stages) * spec.levels * columns * element_bytes +
                       spec.base_rows * columns * sizeof(float);
  return bytes <= static_cast<double>(spec.memory_cap == 0 ? kDefaultCap : spec.memory_cap);
}

}  // namespace

uint32_t ChooseMethod(const SoftpackDecoderSpec& spec) {
  if (spec.precision != kSoftpackPrecisionExact && Fits(spec, sizeof(int16_t))) {
    return kSoftpackMethodFixed;
  }
  const bool quicker = spec.stages * kTableCost <= spec.latent;
  return quicker && Fits(spec, sizeof(float)) ? kSoftpackMethodTable : kSoftpackMethodLatent;
}

}  // namespace softpack
