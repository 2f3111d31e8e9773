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

// 2^x for x <= 0, to one unit in the last place; never below 2^-125. x = n + f with |f| <= 1/2, and
// a minimax polynomial of degree 6 of f that is exact at 0.
SOFTPACK_HOST_DEVICE inline float Exp2(float x) {
  x = x > -125.0f ? x : -125.0f;
  const float shifted = x + 12582912.0f;  // as in Exp
  const float f = x - (shifted - 12582912.0f);
  float sum = 1.535336196e-04f;
  sum = fmaf(sum, f, 1.339887502e-03f);
  sum = fmaf(sum, f, 9.618436918e-03f);
  sum = fmaf(sum, f, 5.550332367e-02f);
  sum = fmaf(sum, f, 2.402264774e-01f);
  sum = fmaf(sum, f, 6.931471825e-01f);
  sum = fmaf(sum, f, 1.0f);
  return sum * FloatOf((BitsOf(shifted) + 127) << 23);  // times 2^n
}

// For each sixteenth of [1, 2): the inverse of its middle, and minus the binary logarithm of that.
#define SOFTPACK_LOG2_INVERSES                                             \
  {9.696969986e-01f, 9.142857194e-01f, 8.648648858e-01f, 8.205128312e-01f, \
   7.804877758e-01f, 7.441860437e-01f, 7.111111283e-01f, 6.808510423e-01f, \
   6.530612111e-01f, 6.274510026e-01f, 6.037735939e-01f, 5.818181634e-01f, \
   5.614035130e-01f, 5.423728824e-01f, 5.245901346e-01f, 5.079365373e-01f}
#define SOFTPACK_LOG2_PARTS                                                \
  {4.439407587e-02f, 1.292830110e-01f, 2.094533294e-01f, 2.854022086e-01f, \
   3.575520515e-01f, 4.262647629e-01f, 4.918530583e-01f, 5.545889139e-01f, \
   6.147098541e-01f, 6.724252701e-01f, 7.279204130e-01f, 7.813597322e-01f, \
   8.328899741e-01f, 8.826430440e-01f, 9.307374358e-01f, 9.772798419e-01f}
constexpr float kLog2Inverses[16] = SOFTPACK_LOG2_INVERSES;
constexpr float kLog2Parts[16] = SOFTPACK_LOG2_PARTS;
#ifdef __CUDACC__
static __device__ const float kDeviceLog2Inverses[16] = SOFTPACK_LOG2_INVERSES;
static __device__ const float kDeviceLog2Parts[16] = SOFTPACK_LOG2_PARTS;
#endif

// log2(1024 x) of a positive normal float, to 1.7 units in the last place of the greater of 1 and
// itself; finite for 0. Floats are finest near 0: probabilities of a thousand classes lie about
// 1/1024. x = 2^n m with m in [1, 2), m = (1 + f) / inverse with |f| <= 1/33 by the tables above,
// and a minimax polynomial of degree 3 of f.
SOFTPACK_HOST_DEVICE inline float Log2Of1024(float x) {
  const uint32_t bits = BitsOf(x);
  const float n = FloatOf(bits >> 23 | 0x4b000000u) - 8388725.0f;  // 2^23 + 127 - 10
  const uint32_t part = bits >> 19 & 15u;
#ifdef __CUDA_ARCH__
  const float inverse = kDeviceLog2Inverses[part], log = kDeviceLog2Parts[part];
#else
  const float inverse = kLog2Inverses[part], log = kLog2Parts[part];
#endif
  const float f = fmaf(FloatOf((bits & 0x007fffffu) | 0x3f800000u), inverse, -1.0f);
  float sum = 4.812733531e-01f;
  sum = fmaf(sum, f, -7.216220498e-01f);
  sum = fmaf(sum, f, 1.442694902e+00f);
  return fmaf(sum, f, n + log);
}

constexpr float kLog2E = 1.44269504f;

// The sums of a row that make a loss.
struct KlSums {
  float total;      // of w, the label before its division
  float entropy;    // of w log2(1024 w) for a clamp head, of w log2(w) for a softmax head
  float partition;  // of 2^b
  float mixed;      // of w b
};
// What `partition` is divided by under the logarithm, an exact quotient: the 1024 of `entropy`.
SOFTPACK_HOST_DEVICE inline float KlUnit(bool clamp, bool entropy) {
  return clamp && entropy ? 1.0f / 1024 : 1.0f;
}
SOFTPACK_HOST_DEVICE inline float KlLoss(const KlSums& sums, bool entropy, float log_total,
                                         float log_partition) {
  const float difference = entropy ? sums.entropy - sums.mixed : -sums.mixed;
  const float logs = entropy ? log_partition - log_total : log_partition;
  return difference / sums.total * 0.693147181f + logs;
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
