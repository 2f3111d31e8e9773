// The specification of the functions that heads and losses need, one float at a time: every vector
// form does the same operations in the same order. Fit for host and device.
#ifndef SOFTPACK_CORE_SCALAR_MATH_H_
#define SOFTPACK_CORE_SCALAR_MATH_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/bits.h"

namespace softpack {
namespace scalar {

SOFTPACK_HOST_DEVICE inline uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

SOFTPACK_HOST_DEVICE inline float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// exp(x) for x <= 0, to 2 units in the last place; never below exp(-87), the least normal float or
// so. x = n ln 2 + r with |r| <= ln(2) / 2, then the Taylor series of exp(r) to degree 7 (Horner).
SOFTPACK_HOST_DEVICE inline float Exp(float x) {
  x = x > -87.0f ? x : -87.0f;
  const float magic =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const float shifted = fmaf(x, 1.44269504f, magic);
  const float n = shifted - magic;
  float r = fmaf(n, -0.693359375f, x);  // ln 2 in two parts, the first exact in 9 bits
  r = fmaf(n, 2.12194440e-4f, r);
  float sum = 1.0f / 5040;
  sum = fmaf(sum, r, 1.0f / 720);
  sum = fmaf(sum, r, 1.0f / 120);
  sum = fmaf(sum, r, 1.0f / 24);
  sum = fmaf(sum, r, 1.0f / 6);
  sum = fmaf(sum, r, 0.5f);
  sum = fmaf(sum, r, 1.0f);
  sum = fmaf(sum, r, 1.0f);
  return sum * FloatOf((BitsOf(shifted) + 127) << 23);  // times 2^n
}

// Natural logarithm of a positive float to 2 units in the last place; of the least normal float
// below it. x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2 / 2 + f^3 P(f)
// with the coefficients of Cephes' logf: no division.
SOFTPACK_HOST_DEVICE inline float Log(float x) {
  x = x > 1.17549435e-38f ? x : 1.17549435e-38f;
  const uint32_t offset = 0x3f3504f3u;  // sqrt(1/2)
  const uint32_t shifted = BitsOf(x) - offset;
  const float n = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float f = FloatOf((shifted & 0x007fffffu) + offset) - 1.0f;
  float sum = 7.0376836292e-2f;
  sum = fmaf(sum, f, -1.1514610310e-1f);
  sum = fmaf(sum, f, 1.1676998740e-1f);
  sum = fmaf(sum, f, -1.2420140846e-1f);
  sum = fmaf(sum, f, 1.4249322787e-1f);
  sum = fmaf(sum, f, -1.6668057665e-1f);
  sum = fmaf(sum, f, 2.0000714765e-1f);
  sum = fmaf(sum, f, -2.4999993993e-1f);
  sum = fmaf(sum, f, 3.3333331174e-1f);
  const float square = f * f;
  sum = fmaf(sum, f, -0.5f);
  sum = fmaf(n, -2.12194440e-4f, square * sum);
  return fmaf(n, 0.693359375f, f + sum);
}

// float32 to bfloat16: to nearest, ties to even; NaN stays NaN, quiet.
SOFTPACK_HOST_DEVICE inline uint16_t FloatToBfloat(float value) {
  const uint32_t bits = BitsOf(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// The error of rounding to bfloat16, as bfloat16.
inline uint16_t LowBfloat(float value) {
  return FloatToBfloat(value - FloatOf(static_cast<uint32_t>(FloatToBfloat(value)) << 16));
}

}  // namespace scalar
}  // namespace softpack

#endif  // SOFTPACK_CORE_SCALAR_MATH_H_
