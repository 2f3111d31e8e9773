// Division of a fixed-point table into slices of columns that fit the shared memory of a block:
// plain functions for host and device, tested on the CPU.
#ifndef SOFTPACK_CUDA_SLICES_H_
#define SOFTPACK_CUDA_SLICES_H_

#include <cstdint>

#include "core/bits.h"

namespace softpack {

// A class adds to partial sum j mod kSliceSlots of its row (rows.h), which has this many terms.
constexpr uint32_t kSliceSlots = 64;
constexpr uint32_t kSliceSteps = 16;
constexpr uint32_t kSliceClasses = kSliceSlots * kSliceSteps;
// Columns in 16 bytes of a row.
constexpr uint32_t kUnitColumns = 8;
// Labels whose rows are looked up between two barriers; the numbers of the next ones' rows are
// copied meanwhile.
constexpr uint32_t kSliceTile = 64;

// Units of 16 bytes in a slice's part of a table row: 4, 8 or 16; 0 if no slice fits.
struct SliceShape {
  uint32_t units;
  uint32_t slices;
  uint32_t together;  // stages that neighbouring lanes add up side by side
  uint32_t rows;      // of the table, those of a missing last stage among them
  uint32_t pairs;     // of rows that one lane adds up for a label
  uint64_t shared_bytes;
};

SOFTPACK_HOST_DEVICE inline SliceShape ShapeOfSlices(uint32_t units, uint64_t stages,
                                                     uint64_t levels) {
  // Rows of 64 bytes meet half of the banks: each half holds every second stage.
  const uint64_t together = units < 8 ? 8 / units : 1;
  const uint64_t steps = (stages + together - 1) / together;
  const uint64_t even_steps = (steps + 1) / 2 * 2;
  const uint64_t rows = even_steps * together * levels;
  const uint64_t tile = kSliceTile * together * even_steps * sizeof(uint16_t);
  const uint64_t shared = rows * units * 16 + 2 * tile;
  return {units,
          kSliceClasses / (units * kUnitColumns),
          static_cast<uint32_t>(together),
          static_cast<uint32_t>(rows),
          static_cast<uint32_t>(even_steps / 2),
          shared};
}

// The widest slices that fit: the fewer there are, the less often indices are read.
inline SliceShape ChooseSlices(uint64_t classes, uint64_t stages, uint64_t levels,
                               uint64_t shared_bytes) {
  constexpr uint64_t kMostRows = 65536;  // row numbers have 16 bits
  if (classes > kSliceClasses || stages * levels > kMostRows) return {};
  for (uint32_t units = 16; units >= 4; units /= 2) {
    const SliceShape shape = ShapeOfSlices(units, stages, levels);
    if (shape.rows <= kMostRows && shape.shared_bytes <= shared_bytes) return shape;
  }
  return {};
}

SOFTPACK_HOST_DEVICE inline uint32_t SliceRow(uint32_t together, uint64_t levels, uint64_t stage,
                                              uint64_t level) {
  return static_cast<uint32_t>((stage / together * levels + level) * together + stage % together);
}

// Slices for sums hold all terms of some partial sums, half of a sum per unit: lanes add in the
// order of the CPU.
SOFTPACK_HOST_DEVICE inline uint32_t SumColumn(uint32_t units, uint32_t slice, uint32_t unit,
                                               uint32_t element) {
  const uint32_t slots = units / 2;
  const uint32_t slot = slice * slots + unit % slots;
  return (unit / slots * kUnitColumns + element) * kSliceSlots + slot;
}

// Slices for labels hold adjacent columns, in two halves: neighbouring units hold four neighbouring
// columns of each, so that lanes which write four float32 each write whole sectors together.
SOFTPACK_HOST_DEVICE inline uint32_t LabelColumn(uint32_t units, uint32_t slice, uint32_t unit,
                                                 uint32_t element) {
  constexpr uint32_t kHalf = kUnitColumns / 2;
  return slice * units * kUnitColumns + (element / kHalf * units + unit) * kHalf + element % kHalf;
}

// Row numbers of a label, those of each lane that adds some of them up for itself side by side.
SOFTPACK_HOST_DEVICE inline uint64_t SliceRowNumbers(const SliceShape& shape) {
  return uint64_t{2} * shape.pairs * shape.together;
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_SLICES_H_
