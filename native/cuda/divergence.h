// Divergences of two distributions, token by token (src/training/token-distance.ts).
#ifndef SOFTPACK_CUDA_DIVERGENCE_H_
#define SOFTPACK_CUDA_DIVERGENCE_H_

#include "core/device_module.h"
#include "core/scalar_math.h"
#include "cuda/platform.h"

namespace softpack {

// Kept away from 0 under a logarithm.
constexpr float kTiny = 1e-30f;
constexpr float kLogTiny = -69.0775528f;

struct Divergence {
  uint32_t kind;  // SoftpackDivergence
  float beta;
  bool entropy;  // whether the forward one holds sum_j p_j log p_j
};

// One token's probabilities: the teacher's p and the student's q.
struct TokenSides {
  float p;
  float log_p;
  float q;
  float log_q;
};

// scalar::Exp is never 0, and masked tokens are.
__device__ inline float ShareOf(float log) { return log <= -87.0f ? 0.0f : scalar::Exp(log); }

// A token's part of the divergence, and its derivative by q. Of the forward one the derivative is
// not asked for: -p / q.
struct TokenTerm {
  float value;
  float slope;
};
__device__ inline TokenTerm TermOf(const Divergence& divergence, const TokenSides& token) {
  const float p = token.p, log_p = token.log_p, q = token.q, log_q = token.log_q;
  if (divergence.kind == kSoftpackDivergenceForward) {
    if (p == 0.0f) return {0.0f, 0.0f};
    return {p * ((divergence.entropy ? log_p : 0.0f) - log_q), 0.0f};
  }
  if (divergence.kind == kSoftpackDivergenceReverse) {
    if (q == 0.0f) return {0.0f, 0.0f};
    return {q * (log_q - log_p), log_q - log_p};
  }
  const float beta = divergence.beta;
  const float mixed = beta * p + (1.0f - beta) * q;
  const float log_mixed = scalar::Log(mixed > kTiny ? mixed : kTiny);
  // NaN stays.
  const float own = log_q < kLogTiny ? kLogTiny : log_q;
  const float teacher = log_p < kLogTiny ? kLogTiny : log_p;
  const float slope = (1.0f - beta) * (own - log_mixed);
  return {beta * p * (teacher - log_mixed) + q * slope, slope};
}

// The derivative by a token's logit, divided by the temperature; `mean`: of the slopes, by q.
__device__ inline float LogitSlope(const Divergence& divergence, const TokenSides& token,
                                   float mean) {
  if (divergence.kind == kSoftpackDivergenceForward) return token.q - token.p;
  return token.q * (TermOf(divergence, token).slope - mean);
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_DIVERGENCE_H_
