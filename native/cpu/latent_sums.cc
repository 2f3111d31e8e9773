#include "cpu/latent_sums.h"

#include <algorithm>
#include <cmath>

namespace softpack {

bool LatentSums::Create(const SoftpackDecoderSpec& spec) {
  spec_ = spec;
  const uint64_t floats = (spec.stages - 1) * spec.codebook_stride + spec.levels * spec.width;
  const uint64_t bases = spec.base_rows * spec.latent;
  if (!codebooks_.Allocate(floats) || !bases_.Allocate(bases)) return false;
  std::copy_n(spec.codebooks, floats, codebooks_.data());
  if (bases > 0) std::copy_n(spec.bases, bases, bases_.data());
  return true;
}

void LatentSums::Sum(const CodeBlock& block, uint64_t i, float* latent) const {
  if (block.latents != nullptr) {
    std::copy_n(block.latents + i * spec_.latent, spec_.latent, latent);
    return;
  }
  const uint16_t* const indices = block.indices + i * spec_.stages;
  const bool apart = spec_.latent_step >= spec_.width;
  std::fill_n(latent, spec_.latent, 0.0f);
  for (uint64_t stage = 0; stage < spec_.stages; ++stage) {
    const float* const codeword =
        codebooks_.data() + stage * spec_.codebook_stride + indices[stage] * spec_.width;
    float* const to = latent + stage * spec_.latent_step;
    if (apart)
      std::copy_n(codeword, spec_.width, to);
    else
      for (uint64_t d = 0; d < spec_.width; ++d) to[d] += codeword[d];
  }
  if (block.base_pairs == nullptr) return;
  const float* const a = bases_.data() + block.base_pairs[2 * i] * spec_.latent;
  const float* const b = bases_.data() + block.base_pairs[2 * i + 1] * spec_.latent;
  const float weight = block.base_weights[i];
  for (uint64_t d = 0; d < spec_.latent; ++d) {
    latent[d] = std::fmaf(weight, a[d], std::fmaf(1.0f - weight, b[d], latent[d]));
  }
}

}  // namespace softpack
