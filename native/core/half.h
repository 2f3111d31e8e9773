// float32 to IEEE float16 and back without hardware: to nearest, ties to even; NaN as vcvtps2ph
// gives it (quiet, with the upper payload bits).
#ifndef SOFTPACK_CORE_HALF_H_
#define SOFTPACK_CORE_HALF_H_

#include <cstdint>
#include <cstring>

#include "core/bits.h"

namespace softpack {

SOFTPACK_HOST_DEVICE inline uint16_t NanToHalf(float nan) {
  uint32_t bits;
  std::memcpy(&bits, &nan, sizeof bits);
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | 0x7e00u | (bits >> 13 & 0x3ffu));
}

SOFTPACK_HOST_DEVICE inline uint16_t FloatToHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return NanToHalf(value);
  uint32_t half;
  if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;  // at least halfway from 65504, the largest half, to the next power of two
  } else if (magnitude >= 0x38800000u) {
    half = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  } else if (magnitude < 0x33000000u) {
    half = 0;  // below 2^-25, half of the least half
  } else {
    // Halves below 2^-14 are multiples of 2^-24: shift the significand there and round what falls
    // off.
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t significand = 0x800000u | (magnitude & 0x7fffffu);
    const uint32_t half_unit = 1u << (shift - 1);
    half = (significand + half_unit - 1 + ((significand >> shift) & 1u)) >> shift;
  }
  return static_cast<uint16_t>(sign | half);
}

inline float HalfToFloat(uint16_t half) {
  float value = static_cast<float>(half & 0x3ffu) * 0x1p-24f;  // below 2^-14
  if ((half & 0x7c00u) != 0) {
    const uint32_t exponent = (half & 0x7c00u) == 0x7c00u ? 0x70000000u : 0x38000000u;
    const uint32_t bits = (static_cast<uint32_t>(half & 0x7fffu) << 13) + exponent;
    std::memcpy(&value, &bits, sizeof value);
  }
  return half & 0x8000u ? -value : value;
}

}  // namespace softpack

#endif  // SOFTPACK_CORE_HALF_H_
