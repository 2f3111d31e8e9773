// Labels softmax((bias + latent . basis) / tau) of latents that the caller has, each call at its
// own temperature: rows of the latent or the bfloat method of cpu/decoder.h, without codes.
#ifndef SOFTPACK_CPU_LATENT_DECODER_H_
#define SOFTPACK_CPU_LATENT_DECODER_H_

#include <memory>

#include "core/backend.h"
#include "cpu/dispatch.h"
#include "cpu/row_source.h"
#include "cpu/scratch_pool.h"

namespace softpack {

struct LatentDecoderSpec {
  const float* basis;  // [latent, classes]
  const float* bias;   // [classes]
  uint64_t classes;
  uint64_t latent;
  bool fastest;  // both factors rounded to bfloat16, if the processor has a unit for it
};

struct LatentDecodeArgs {
  const float* latents;  // [count, latent]
  void* out;             // [count, classes] of out_type
  uint64_t count;
  float tau;
  uint32_t out_type;  // SoftpackDtype
  uint32_t threads;
};

class LatentDecoder {
 public:
  // Copies what `spec` points to.
  int Create(const Isa& isa, const LatentDecoderSpec& spec);
  int Decode(const LatentDecodeArgs& args) const;
  // Memory held, working memory that is kept between calls included.
  uint64_t bytes() const { return rows_->bytes() + scratch_.bytes(); }

 private:
  int DecodeBlock(const LatentDecodeArgs& args, uint64_t first, uint64_t count, bool careful,
                  bool streamed) const;

  const KernelTable* table_ = nullptr;
  uint64_t classes_ = 0;
  uint64_t latent_ = 0;
  double largest_latent_ = 0;  // up to which no value can overflow
  std::unique_ptr<RowSource> rows_;
  mutable ScratchPool<RowScratch> scratch_;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_LATENT_DECODER_H_
