// Shapes on which every backend is tested, and random data for them. Seeded: the same on every run
// of one build.
#ifndef SOFTPACK_TESTING_CASES_H_
#define SOFTPACK_TESTING_CASES_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/bits.h"

namespace softpack {
namespace testing {

struct ProductCase {
  uint64_t rows, inner, columns;
};
// Around the edges of tiles of 8, 16, 64 and 128.
constexpr ProductCase kProducts[] = {
    {1, 1, 1},     {0, 5, 3},      {3, 0, 5},      {2, 3, 0},      {7, 8, 9},    {17, 7, 129},
    {128, 8, 128}, {129, 16, 127}, {130, 33, 260}, {1, 100, 1000}, {257, 5, 64},
};

struct NearestCase {
  uint64_t count, width, levels;
};
constexpr NearestCase kNearest[] = {
    {0, 3, 4},      {1, 1, 1},      {5, 5, 7},      {130, 20, 64},  {129, 8, 300},
    {40, 100, 129}, {300, 5, 1024}, {1, 1, 256},    {127, 15, 257}, {0, 20, 256},
    {33, 20, 1024}, {65, 25, 512},  {257, 32, 256}, {17, 33, 256},  {9, 15, 2048},
};

struct EncodeCase {
  uint64_t count, classes, segments, width, levels;
};
constexpr EncodeCase kEncodes[] = {
    {0, 5, 1, 3, 4},  {1, 7, 2, 3, 5},      {17, 33, 3, 5, 27},
    {9, 10, 5, 1, 2}, {131, 64, 4, 20, 64}, {24, 100, 7, 9, 700},
};

struct DecodeCase {
  const char* name;
  uint64_t classes, stages, width, levels;
  uint32_t bits;
  bool apart;      // segments side by side, one codebook; else all in place, one a stage
  uint64_t bases;  // rows, or 0
  bool bias;
};
constexpr DecodeCase kDecodes[] = {
    {"one class", 1, 1, 1, 1, 1, true, 0, false},
    {"few classes", 7, 3, 2, 5, 3, true, 0, true},
    {"residual", 48, 9, 6, 13, 4, false, 0, true},
    {"residual with bases", 100, 5, 7, 16, 4, false, 9, true},
    {"segments with bases", 65, 4, 5, 8, 3, true, 3, false},
    {"many stages", 33, 70, 3, 32, 5, true, 0, false},
    {"many more stages", 20, 300, 2, 4, 2, true, 0, false},
    {"999 classes", 999, 10, 10, 64, 6, true, 0, false},
    {"1001 classes", 1001, 4, 25, 100, 7, true, 0, true},
    {"1025 classes with bases", 1025, 3, 4, 11, 4, false, 4, true},
    {"2500 classes", 2500, 2, 8, 16, 16, true, 0, false},
};
constexpr uint64_t kCounts[] = {0, 1, 17, 97};

// Tables that fixed point keeps in shared memory for many labels: slices of 16, 8 and 4 units per
// row, an odd number of stages in each kind, and one table too large.
constexpr DecodeCase kManyLabels[] = {
    {"(100, 64)", 1000, 10, 6, 64, 6, true, 0, true},
    {"9 stages", 7, 9, 2, 5, 3, true, 0, false},
    {"20 stages of 64", 65, 20, 2, 64, 6, true, 0, true},
    {"21 stages of 50", 999, 21, 2, 50, 6, true, 0, false},
    {"(50, 128)", 1000, 20, 3, 128, 7, true, 0, false},
    {"19 stages of 120", 1001, 19, 2, 120, 7, true, 0, true},
    {"in place", 33, 10, 5, 64, 6, false, 0, true},
    {"30 stages of 128", 40, 30, 2, 128, 7, true, 0, false},
};
// Around the number of labels from which reading a table into shared memory pays.
constexpr uint64_t kManyCounts[] = {2047, 2048, 2051, 2177};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  uint32_t Below(uint64_t limit) { return static_cast<uint32_t>(engine_() % limit); }
  std::vector<float> Floats(uint64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = normal_(engine_);
    return values;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

// A decoder's arrays, codes for `labels` labels and predictions for `count` of them.
struct DecodeData {
  std::vector<float> codebooks, basis, bias, bases;
  std::vector<uint8_t> codes;
  std::vector<uint32_t> list, pairs;
  std::vector<float> weights;
  SoftpackDecoderSpec spec = {};
  uint64_t labels = 0;

  DecodeData(const DecodeCase& shape, uint64_t count, uint32_t seed) {
    Random random(seed);
    const uint64_t stages = shape.stages, levels = shape.levels, width = shape.width;
    spec.classes = shape.classes;
    spec.stages = stages;
    spec.levels = levels;
    spec.width = width;
    spec.latent_step = shape.apart ? width : 0;
    spec.codebook_stride = shape.apart ? 0 : levels * width;
    spec.latent = (stages - 1) * spec.latent_step + width;
    spec.bits = shape.bits;
    codebooks = random.Floats((stages - 1) * spec.codebook_stride + levels * width);
    basis = random.Floats(spec.latent * shape.classes);
    for (float& value : basis) value *= 0.1f;
    bias = random.Floats(shape.classes);
    bases = random.Floats(shape.bases * spec.latent);
    labels = count + 5;
    const uint64_t indices = labels * stages;
    codes.assign((indices * shape.bits + 7) / 8, 0);
    for (uint64_t i = 0; i < indices; ++i) {
      WriteIndex(codes.data(), i * shape.bits, shape.bits,
                 static_cast<uint16_t>(random.Below(levels)));
    }
    for (uint64_t i = 0; i < count; ++i) {
      list.push_back(random.Below(labels));
      weights.push_back(static_cast<float>(random.Below(1000)) / 999.0f);
      pairs.push_back(random.Below(std::max<uint64_t>(shape.bases, 1)));
      pairs.push_back(random.Below(std::max<uint64_t>(shape.bases, 1)));
    }
    spec.codebooks = codebooks.data();
    spec.basis = basis.data();
    spec.bias = shape.bias ? bias.data() : nullptr;
    spec.bases = shape.bases > 0 ? bases.data() : nullptr;
    spec.base_rows = shape.bases;
  }

  SoftpackLabels Labels(uint64_t count, bool listed) const {
    SoftpackLabels asked = {};
    asked.codes = codes.data();
    asked.codes_bytes = codes.size();
    asked.list = listed ? list.data() : nullptr;
    asked.first = listed ? 0 : 3;
    asked.count = count;
    if (spec.bases != nullptr) {
      asked.base_pairs = pairs.data();
      asked.base_weights = weights.data();
    }
    return asked;
  }
};

// ---- The float64 reference --------------------------------------------------------------------

// v of one label.
inline std::vector<double> ReferenceValues(const DecodeData& data, const SoftpackLabels& labels,
                                           uint64_t i) {
  const SoftpackDecoderSpec& spec = data.spec;
  const uint64_t label = labels.list == nullptr ? labels.first + i : labels.list[i];
  std::vector<double> latent(spec.latent, 0.0), values(spec.classes, 0.0);
  for (uint64_t s = 0; s < spec.stages; ++s) {
    const uint64_t bit = (label * spec.stages + s) * spec.bits;
    const uint64_t index = ReadIndex(labels.codes, bit, spec.bits);
    const float* const codeword = spec.codebooks + s * spec.codebook_stride + index * spec.width;
    for (uint64_t d = 0; d < spec.width; ++d) latent[s * spec.latent_step + d] += codeword[d];
  }
  if (spec.bases != nullptr) {
    const double weight = labels.base_weights[i];
    const float* const a = spec.bases + labels.base_pairs[2 * i] * spec.latent;
    const float* const b = spec.bases + labels.base_pairs[2 * i + 1] * spec.latent;
    for (uint64_t e = 0; e < spec.latent; ++e) latent[e] += weight * a[e] + (1 - weight) * b[e];
  }
  for (uint64_t j = 0; j < spec.classes; ++j) {
    values[j] = spec.bias == nullptr ? 0 : spec.bias[j];
    for (uint64_t e = 0; e < spec.latent; ++e)
      values[j] += latent[e] * spec.basis[e * spec.classes + j];
  }
  return values;
}

inline void ReferenceHead(const SoftpackDecoderSpec& spec, std::vector<double>& values) {
  if (spec.head == kSoftpackHeadIdentity) return;
  double greatest = values[0], sum = 0;
  for (const double value : values) greatest = std::max(greatest, value);
  for (double& value : values) {
    value = spec.head == kSoftpackHeadClamp
                ? std::max(value, static_cast<double>(spec.head_parameter))
                : std::exp((value - greatest) / spec.head_parameter);
    sum += value;
  }
  for (double& value : values) value /= sum;
}

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CASES_H_
