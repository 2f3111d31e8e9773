// What a call wants of its labels, a chunk at a time: arrays on the device are read and written in
// place, those of the host through working memory.
#ifndef SOFTPACK_CUDA_TARGETS_H_
#define SOFTPACK_CUDA_TARGETS_H_

#include <algorithm>

#include "core/backend.h"
#include "cuda/operation.h"
#include "cuda/rows.h"

namespace softpack {

// Labels.
class DecodeTarget {
 public:
  // `chunk`: labels at a time if nothing has to be copied.
  DecodeTarget(Operation& operation, const SoftpackDecodeArgs& args, const HeadParams& head,
               uint64_t classes, uint64_t chunk);
  uint64_t chunk() const { return chunk_; }
  RowTarget Begin(uint64_t first, uint64_t count);
  void End(uint64_t first, uint64_t count);

 private:
  Operation& operation_;
  const SoftpackDecodeArgs& args_;
  HeadParams head_;
  uint64_t classes_;
  uint64_t label_bytes_;
  uint64_t chunk_;
  char* out_ = nullptr;  // null: in place
};

// Losses and gradients; `type` (SoftpackDtype) is that of logits and gradient.
class KlTarget {
 public:
  KlTarget(Operation& operation, const SoftpackDecodeKlArgs& args, uint32_t type,
           const HeadParams& head, uint64_t classes, uint64_t chunk);
  uint64_t chunk() const { return chunk_; }
  RowTarget Begin(uint64_t first, uint64_t count);
  void End(uint64_t first, uint64_t count);

 private:
  Operation& operation_;
  const SoftpackDecodeKlArgs& args_;
  uint32_t type_;
  HeadParams head_;
  uint64_t classes_;
  uint64_t row_bytes_;
  uint64_t chunk_;
  // Null: in place.
  char* logits_ = nullptr;
  char* gradient_ = nullptr;
  float* losses_ = nullptr;
};

// Calls `use(first, count, rows)` for all of `labels` labels; the operation's status.
template <class Target, class Use>
int ForEachChunk(Operation& operation, Target& target, uint64_t labels, const Use& use) {
  for (uint64_t first = 0; operation.ok() && first < labels; first += target.chunk()) {
    const uint64_t count = std::min(target.chunk(), labels - first);
    use(first, count, target.Begin(first, count));
    target.End(first, count);
  }
  return operation.Finish();
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_TARGETS_H_
