// Random labels of tokens and a student's logits.
#ifndef SOFTPACK_TESTING_CUDA_TOKENS_DATA_H_
#define SOFTPACK_TESTING_CUDA_TOKENS_DATA_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "cases.h"
#include "core/device_module.h"

namespace softpack {
namespace testing {

enum class Teacher { kWhole, kGhost, kHidden, kUniform, kPrior };

struct TokenCase {
  Teacher teacher;
  uint64_t positions, vocabulary, columns, width;
  float tau;
  uint32_t divergence = kSoftpackDivergenceForward;
  float beta = 0;
  uint64_t corrected = 0;

  bool spread() const { return teacher == Teacher::kUniform || teacher == Teacher::kPrior; }
  uint32_t tail() const {
    if (teacher == Teacher::kUniform) return kSoftpackTailUniform;
    if (teacher == Teacher::kPrior) return kSoftpackTailPrior;
    return teacher == Teacher::kGhost ? kSoftpackTailGhost : kSoftpackTailNone;
  }
};

struct TokenData {
  std::vector<int32_t> ids, corrected_ids;
  std::vector<float> corrections, probabilities, hidden, head, logits, prior;
  std::vector<uint8_t> counts;

  TokenData(const TokenCase& shape, uint32_t seed) {
    Random random(seed);
    const uint64_t positions = shape.positions;
    logits = random.Floats(positions * shape.columns);
    for (float& logit : logits) logit *= 4;
    for (uint64_t t = 0; t < positions; ++t) counts.push_back(t == 1 ? 0 : 1);
    if (shape.teacher == Teacher::kHidden) {
      hidden = random.Floats(positions * shape.width);
      head = random.Floats(shape.vocabulary * shape.width);
      // The last entry has no use, unless it is the only one.
      for (uint64_t e = 0; e < positions * shape.corrected; ++e) {
        const bool used = shape.corrected == 1 || e % shape.corrected + 1 < shape.corrected;
        const uint64_t id =
            (e / shape.corrected * 31 + e % shape.corrected * 67) % shape.vocabulary;
        corrected_ids.push_back(used ? static_cast<int32_t>(id) : 0);
        corrections.push_back(used ? 1.5f + static_cast<float>(e % 5) / 2 : 0.0f);
      }
      return;
    }
    for (uint64_t t = 0; t < positions; ++t) {
      const uint32_t start = random.Below(shape.vocabulary);
      double sum = 0;
      for (uint64_t e = 0; e < shape.width; ++e) {
        // The last entry has no use, unless it is the only one.
        const bool used = e + 1 < shape.width || e == 0;
        ids.push_back(used ? static_cast<int32_t>((start + 3 * e) % shape.vocabulary) : -7);
        probabilities.push_back(used ? 0.01f + static_cast<float>(random.Below(1000)) : 0.0f);
        sum += probabilities.back();
      }
      // A spread tail of position 0 has nothing left.
      const bool rest = shape.teacher == Teacher::kGhost || (shape.spread() && t > 0);
      const double whole = rest ? 0.7 : 1;
      for (uint64_t e = t * shape.width; e < (t + 1) * shape.width; ++e) {
        probabilities[e] = static_cast<float>(probabilities[e] / sum * whole);
      }
    }
    if (shape.teacher != Teacher::kPrior) return;
    // From exp(-18) on, and most of it at tokens that position 2 lists.
    prior = random.Floats(shape.vocabulary);
    for (float& own : prior) own = std::exp(6 * own - 12);
    for (uint64_t e = 2 * shape.width; e < 3 * shape.width; ++e) {
      if (ids[e] >= 0) prior[static_cast<uint64_t>(ids[e])] = 1;
    }
  }
};

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TOKENS_DATA_H_
