// Labels, an encoder and its codebook as they are in use: labels near the uniform one, as at high
// temperatures, and latent vectors of deviations from it.
#ifndef SOFTPACK_TESTING_CUDA_ENCODE_DATA_H_
#define SOFTPACK_TESTING_CUDA_ENCODE_DATA_H_

#include <cmath>
#include <vector>

#include "cases.h"

namespace softpack {
namespace testing {

struct EncodeData {
  EncodeData(const EncodeCase& shape, uint32_t seed) : shape(shape) {
    // Of a teacher's labels at temperature 20, relative to their mean.
    constexpr float kDeviation = 0.17f;
    Random random(seed);
    const uint64_t classes = shape.classes, latent = shape.segments * shape.width;
    labels = random.Floats(shape.count * classes);
    for (uint64_t i = 0; i < shape.count; ++i) {
      float* const label = labels.data() + i * classes;
      double sum = 0;
      for (uint64_t j = 0; j < classes; ++j) {
        label[j] = std::exp(kDeviation * label[j]);
        sum += label[j];
      }
      for (uint64_t j = 0; j < classes; ++j) label[j] = static_cast<float>(label[j] / sum);
    }
    // The uniform label's vector is 0.
    projection = random.Floats(classes * latent);
    for (uint64_t column = 0; column < latent; ++column) {
      double sum = 0;
      for (uint64_t j = 0; j < classes; ++j) sum += projection[j * latent + column];
      const float mean = static_cast<float>(sum / static_cast<double>(classes));
      for (uint64_t j = 0; j < classes; ++j) projection[j * latent + column] -= mean;
    }
    codebook = random.Floats(shape.levels * shape.width);
    const float size = kDeviation / std::sqrt(static_cast<float>(classes));
    for (float& value : codebook) value *= size;
  }

  uint32_t bits() const {
    uint32_t bits = 1;
    while ((uint64_t{1} << bits) < shape.levels) ++bits;
    return bits;
  }
  uint64_t code_bytes() const { return (shape.count * shape.segments * bits() + 7) / 8; }
  SoftpackEncoderSpec spec() const {
    return {projection.data(), codebook.data(), shape.classes, shape.segments * shape.width,
            shape.width,       shape.levels,    bits()};
  }

  EncodeCase shape;
  std::vector<float> labels, projection, codebook;
};

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_ENCODE_DATA_H_
