// When scores that are not quite the CPU's prove which codeword the CPU chooses.
//
// The CPU has a vector h and scores f_j; here are a vector g with |h - g| <= off and scores of g.
// For codeword c_j let s_j(x) = |c_j|^2 / 2 - x.c_j exactly, D_j = |g - c_j|, so that D_j^2 = |g|^2
// + 2 s_j(g), and L = |g| + off, which neither vector exceeds. Since |c_j| <= |g| + D_j, what is
// relative to a codeword is relative to L and D_j as well:
//   |c_j|^2 / 2 + L |c_j| <= 2.5 L^2 + 2 D_j^2.
// r = kScoreRounding (width + 2) times this is what float32 rounds in a score (nearest_bound.h).
// Codeword 1 has the float32 score `best` of g. Every other one has a score of g of at least `bar`,
// whose error is at most e_L L^2 + e_D D_j^2. Write a^2 = |g|^2 + 2 best, b^2 = |g|^2 + 2 bar: the
// squares of how far codeword 1 is, and of how far the others are at least, but for these errors.
//
// The CPU chooses codeword 1 if s_j(h) - s_1(h) exceeds what float32 rounds in the two, and
// s_j(h) - s_1(h) >= (D_j^2 - D_1^2) / 2 - off (D_j + D_1), for |c_j - c_1| <= D_j + D_1. What
// this is short of rises with D_j (where it is positive, D_j > 2 off), so that the least possible
// D_j decides: b^2 - 2 e_L L^2 - 2 e_D b^2 <= D_j^2; and D_1^2 <= (a^2 + 5 r L^2) / (1 - 4 r).
// Collected:
//   bar - best > off (a + b) + (e_L + 8.1 r) L^2 + (e_D + 2.5 r) b^2 + 4.6 r a^2,
// with the float32 half norm's own rounding, at which scores start. The error of tensor cores'
// scores is `omitted` |g| |c_j| + `sums` (|c_j|^2 / 2 + |g| |c_j|), so that e_L = 1.5 omitted + 2.5
// sums and e_D = 0.5 omitted + 2 sums; taken 1.05 times for what these leave of parts.
//
// Distances count here, not norms: the longest codeword is several times as long as one that a
// vector can be near to, and of the bench's labels at (20, 1024) a bound by its length left 34 in
// 100 undecided, this one leaves 2. Vectors far longer than any codeword are better off with that,
// too: |c_j| <= C, and |c_j - c_1| <= 2 C, so that
//   bar - best > 2 C off + omitted L C + (sums + 4 r) (C^2 / 2 + L C)
// does as well.
#ifndef SOFTPACK_CUDA_CERTAINTY_H_
#define SOFTPACK_CUDA_CERTAINTY_H_

#include "cuda/platform.h"

namespace softpack {

struct ScoreErrors {
  float omitted;
  float sums;
  float rounding;  // r
  float longest;   // C, or infinity
};

// `square` is |g|^2 in float32. Within these limits of it nothing here overflows and what
// underflows is below what is rounded. False if anything is NaN. The factors cover this arithmetic.
__device__ inline bool IsCertain(float square, float best, float bar, float off,
                                 const ScoreErrors& errors) {
  if (!(square >= 0x1p-80f && square <= 0x1p80f)) return false;
  const float r = errors.rounding;
  const float length = 1.001f * (sqrtf(square) + off), longest = length * length;
  const auto upper = [&](float score) {
    return (1.0f + 8.0f * r) * fmaxf(square + 2.0f * score, 0.0f) + 16.0f * r * longest;
  };
  const float omitted = 1.05f * errors.omitted, sums = 1.05f * errors.sums;
  const float chosen = upper(best), other = upper(bar);
  const float by_distance = (1.5f * omitted + 2.5f * sums + 10.0f * r) * longest +
                            (0.5f * omitted + 2.0f * sums + 4.0f * r) * other + 5.0f * r * chosen +
                            off * (sqrtf(chosen) + sqrtf(other));
  const float most = errors.longest;
  const float by_length = 2.0f * most * off + omitted * length * most +
                          (sums + 4.0f * r) * most * (0.5f * most + length);
  return bar - best > 1.01f * fminf(by_distance, by_length);
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_CERTAINTY_H_
