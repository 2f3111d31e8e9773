#ifndef SOFTPACK_CUDA_ENCODER_H_
#define SOFTPACK_CUDA_ENCODER_H_

#include "core/backend.h"
#include "cuda/nearest.h"
#include "cuda/operation.h"
#include "cuda/split_project.h"

namespace softpack {

class CudaEncoder {
 public:
  int Create(const SoftpackEncoderSpec& spec);
  int Encode(const SoftpackEncodeArgs& args) const;
  uint64_t bytes() const {
    return projection_.bytes() + codebook_.bytes() + half_norms_.bytes() + prepared_.bytes() +
           split_.bytes();
  }

 private:
  // Working memory of a chunk of labels; null what a version does not need.
  struct Chunk {
    float* projected;
    char* search;
    char* split;
    char* exact;
    uint16_t* indices;
  };

  SplitShape shape() const { return {spec_.classes, spec_.latent, spec_.width}; }
  uint64_t ChunkLabels() const;
  Chunk TakeChunk(Operation& operation, uint64_t labels) const;
  NearestParams Search(const float* vectors, uint16_t* out, uint64_t count) const;
  void RunSearch(Operation& operation, const NearestParams& search, char* work) const;
  // Indices of labels [count, classes] on the device.
  void FindIndices(Operation& operation, const float* labels, uint64_t count,
                   const Chunk& chunk) const;
  void FindIndicesBySplit(Operation& operation, const float* labels, uint64_t count,
                          const Chunk& chunk) const;

  SoftpackEncoderSpec spec_ = {};  // its pointers are not kept
  DeviceArray projection_, codebook_, half_norms_;
  DeviceArray prepared_;  // the codebook for tensor cores, where they serve
  DeviceArray split_;     // the projection for tensor cores, of version 2 alone
};

// Packs indices on the device; bytes of `out` beyond bit count * bits are zero.
void RunPack(Operation& operation, const uint16_t* indices, uint64_t count, uint32_t bits,
             uint8_t* out);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_ENCODER_H_
