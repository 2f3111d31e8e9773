// Codewords and base vectors of a decoder, added up in the latent space.
#ifndef SOFTPACK_CPU_LATENT_SUMS_H_
#define SOFTPACK_CPU_LATENT_SUMS_H_

#include "core/backend.h"
#include "cpu/buffer.h"
#include "cpu/row_source.h"

namespace softpack {

class LatentSums {
 public:
  // Returns false if allocation fails.
  bool Create(const SoftpackDecoderSpec& spec);

  // latent[latent] of label `i` of the block: codewords in stage order, then the prediction;
  // or the one that is given.
  void Sum(const CodeBlock& block, uint64_t i, float* latent) const;

  uint64_t bytes() const { return codebooks_.bytes() + bases_.bytes(); }

 private:
  SoftpackDecoderSpec spec_ = {};  // its pointers are not kept
  Buffer<float> codebooks_;
  Buffer<float> bases_;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_LATENT_SUMS_H_
