#ifndef SOFTPACK_CUDA_ENCODER_H_
#define SOFTPACK_CUDA_ENCODER_H_

#include "core/backend.h"
#include "cuda/nearest.h"
#include "cuda/operation.h"

namespace softpack {

class CudaEncoder {
 public:
  int Create(const SoftpackEncoderSpec& spec);
  int Encode(const SoftpackEncodeArgs& args) const;
  uint64_t bytes() const {
    return projection_.bytes() + codebook_.bytes() + half_norms_.bytes() + prepared_.bytes();
  }

 private:
  NearestParams Search(const float* vectors, uint16_t* out, uint64_t count) const;

  SoftpackEncoderSpec spec_ = {};  // its pointers are not kept
  DeviceArray projection_, codebook_, half_norms_;
  DeviceArray prepared_;  // the codebook for tensor cores, where they serve
};

// Packs indices on the device; bytes of `out` beyond bit count * bits are zero.
void RunPack(Operation& operation, const uint16_t* indices, uint64_t count, uint32_t bits,
             uint8_t* out);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_ENCODER_H_
