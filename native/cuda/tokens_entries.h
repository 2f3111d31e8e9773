// Labels that list a few tokens: what their entries weigh.
#ifndef SOFTPACK_CUDA_TOKENS_ENTRIES_H_
#define SOFTPACK_CUDA_TOKENS_ENTRIES_H_

#include "cuda/tokens.h"

namespace softpack {

// Rounding that probabilities, and a sum of them, may have; the least mass outside of the entries
// (src/training/token-targets.ts, listed-distance.ts).
constexpr float kMost = 1.001f;
constexpr float kLeastRest = 1.0f / (1 << 20);

struct ListedParams {
  SoftpackTokenLabels labels;
  RowTarget target;
  uint32_t* fault;
};

// The weight of an entry at the temperature, 0 if it is none; `*wrong` is set if it is no
// probability of a token.
__device__ inline float WeightOf(const ListedParams& params, uint64_t entry, bool* wrong) {
  const float p = params.labels.probabilities[entry];
  const int32_t id = params.labels.ids[entry];
  if (p == 0.0f) return 0.0f;
  if (!(p > 0.0f && p <= kMost) || id < 0 ||
      static_cast<uint64_t>(id) >= params.labels.vocabulary) {
    *wrong = true;
    return 0.0f;
  }
  const float inverse_tau = params.target.inverse_tau;
  return inverse_tau == 1.0f ? p : scalar::Exp(scalar::Log(p) * inverse_tau);
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_TOKENS_ENTRIES_H_
