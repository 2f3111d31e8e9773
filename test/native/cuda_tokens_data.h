// Random labels of tokens and a student's logits.
#ifndef SOFTPACK_TESTING_CUDA_TOKENS_DATA_H_
#define SOFTPACK_TESTING_CUDA_TOKENS_DATA_H_

#include <cstdint>
#include <vector>

#include "cases.h"

namespace softpack {
namespace testing {

enum class Teacher { kWhole, kGhost, kHidden };

struct TokenCase {
  Teacher teacher;
  uint64_t positions, vocabulary, columns, width;
  float tau;
};

struct TokenData {
  std::vector<int32_t> ids;
  std::vector<float> probabilities, hidden, head, logits;
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
      const double whole = shape.teacher == Teacher::kGhost ? 0.7 : 1;
      for (uint64_t e = t * shape.width; e < (t + 1) * shape.width; ++e) {
        probabilities[e] = static_cast<float>(probabilities[e] / sum * whole);
      }
    }
  }
};

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TOKENS_DATA_H_
