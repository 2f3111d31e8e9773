// Layout of a decoder's device memory: plain functions for host and device, tested on the CPU.
#ifndef SOFTPACK_CUDA_LAYOUT_H_
#define SOFTPACK_CUDA_LAYOUT_H_

#include <cstdint>

#include "core/bits.h"

namespace softpack {

SOFTPACK_HOST_DEVICE inline uint64_t RoundUpTo(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Rows of tables are laid out for a warp whose lane l adds up columns l, l + 32, l + 64, ... and
// reads 16 bytes at a time: in each group of 32 * kVector columns, lane l's kVector columns are
// adjacent. A row is then read in runs of 512 bytes, and no column changes lanes.
template <uint32_t kVector>
SOFTPACK_HOST_DEVICE inline uint64_t LanePosition(uint64_t column) {
  constexpr uint64_t kGroup = 32 * kVector;
  const uint64_t lane = column % 32;
  const uint64_t element = column / 32 % kVector;
  return column / kGroup * kGroup + lane * kVector + element;
}

// The column at LanePosition `position`.
template <uint32_t kVector>
SOFTPACK_HOST_DEVICE inline uint64_t LaneColumn(uint64_t position) {
  constexpr uint64_t kGroup = 32 * kVector;
  const uint64_t lane = position % kGroup / kVector;
  return position / kGroup * kGroup + position % kVector * 32 + lane;
}

constexpr uint32_t kFloatVector = 4;  // float32 in 16 bytes
constexpr uint32_t kFixedVector = 8;  // int16 in 16 bytes

// Two 16-bit numbers as one 32-bit integer, low + 65536 * high: words are then added as plain
// integers, one addition for two columns, and both sums are exact as long as each fits 16 bits,
// whatever carries crossed the middle on the way.
SOFTPACK_HOST_DEVICE inline uint32_t PackPair(int16_t low, int16_t high) {
  return static_cast<uint32_t>(static_cast<int32_t>(low)) + (static_cast<uint32_t>(high) << 16);
}
SOFTPACK_HOST_DEVICE inline int32_t LowSum(uint32_t word) {
  return static_cast<int16_t>(word & 0xffffu);
}
SOFTPACK_HOST_DEVICE inline int32_t HighSum(uint32_t word) {
  return static_cast<int16_t>((word - static_cast<uint32_t>(LowSum(word))) >> 16);
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_LAYOUT_H_
