#ifndef SOFTPACK_CPU_TOKEN_EXP_H_
#define SOFTPACK_CPU_TOKEN_EXP_H_

#include <cstdint>
#include <cstring>

#include "cpu/target.h"

namespace softpack {

// exp(x) for x <= 0 to a unit in the last place of a double, 0 below -104,
// where floats end. The same operations as expOf of
// src/kernels/reference/token-exp.ts, so that labels are equal everywhere. x =
// n ln 2 + r with |r| <= ln(2) / 2, then the Taylor series of exp(r) to
// degree 13.
//
// For x from kLeastTokenExponent to 0. Without a branch, so that compilers make vectors of it.
constexpr double kLeastTokenExponent = -105;
SOFTPACK_INLINE double TokenExpInRange(double x) {
  const int32_t n = static_cast<int32_t>(x * 1.4426950408889634 - 0.5);
  const double count = n;
  // ln 2 in two parts, the first exact in 32 bits.
  const double r = x - count * 0.6931471803691238 - count * 1.9082149292705877e-10;
  double sum = 1.0 / 6227020800;
  sum = sum * r + 1.0 / 479001600;
  sum = sum * r + 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  const uint64_t kept = x < -104 ? 0 : ~uint64_t{0};
  const uint64_t bits = (static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52) & kept;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return sum * power;
}

// NaN stays.
inline double TokenExp(double x) {
  if (x != x) return x;
  return TokenExpInRange(x < kLeastTokenExponent ? kLeastTokenExponent : x);
}

}  // namespace softpack

#endif  // SOFTPACK_CPU_TOKEN_EXP_H_
