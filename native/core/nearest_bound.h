// What float32 rounds in the scores that find the nearest codeword; filters before that search are
// proved with it.
#ifndef SOFTPACK_CORE_NEAREST_BOUND_H_
#define SOFTPACK_CORE_NEAREST_BOUND_H_

namespace softpack {

// A score is |c|^2 / 2, a chain of `width` fused multiply-adds and a half, then `width` more that
// take h.c away. Every partial sum is within M = C (C / 2 + |h|) for the longest codeword C, and
// each operation errs by at most 2^-24 of its result: the chain that starts from the float32
// half norm errs by (width + 1) 2^-24 M, and the whole score by twice that. A hundredth more
// is for the products of these errors.
constexpr double kChainRounding = 0x1p-24;
constexpr double kScoreRounding = 2.02 * kChainRounding;

}  // namespace softpack

#endif  // SOFTPACK_CORE_NEAREST_BOUND_H_
