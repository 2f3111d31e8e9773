#include "cpu/latent_decoder.h"

#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "cpu/value_bound.h"

namespace softpack {

int LatentDecoder::Create(const Isa& isa, const LatentDecoderSpec& given) {
  table_ = isa.kernels;
  classes_ = given.classes;
  latent_ = given.latent;
  SoftpackDecoderSpec spec = {};
  spec.basis = given.basis;
  spec.bias = given.bias;
  spec.classes = given.classes;
  spec.latent = spec.width = given.latent;
  spec.stages = 1;
  largest_latent_ = LargestLatent(spec);
  return given.fastest && isa.bfloat != nullptr
             ? CreateBfloatRows(*table_, *isa.bfloat, spec, false, &rows_)
             : CreateLatentRows(*table_, spec, &rows_);
}

int LatentDecoder::Decode(const LatentDecodeArgs& args) const {
  const uint64_t block = rows_->BlockLabels(args.count, ResolveThreads(args.threads));
  const uint64_t tasks = (args.count + block - 1) / block;
  const uint64_t label_bytes =
      classes_ * SoftpackDtypeBytes(static_cast<SoftpackDtype>(args.out_type));
  const bool streamed = args.count * label_bytes >= kStreamedBytes;
  const bool careful = !(Greatest(args.latents, args.count * latent_) <= largest_latent_);
  return ParallelFor(args.threads, tasks, [&](uint64_t task) {
    const uint64_t first = task * block;
    return DecodeBlock(args, first, std::min(block, args.count - first), careful, streamed);
  });
}

int LatentDecoder::DecodeBlock(const LatentDecodeArgs& args, uint64_t first, uint64_t count,
                               bool careful, bool streamed) const {
  const ScratchPool<RowScratch>::Lease lease(scratch_);
  RowScratch* const scratch = lease.get();
  const uint64_t stride = PaddedClasses(classes_);
  if (scratch == nullptr || !scratch->row.Reserve(stride)) return kSoftpackOutOfMemory;
  CodeBlock block = {};
  block.labels = count;
  block.latents = args.latents + first * latent_;
  RowBlock rows;
  const int status = rows_->Rows(block, scratch, &rows);
  if (status != kSoftpackOk) return status;
  const Head head{HeadKind::kSoftmax, 1.0f / args.tau};
  const auto type = static_cast<SoftpackDtype>(args.out_type);
  const uint64_t label_bytes = classes_ * SoftpackDtypeBytes(type);
  for (uint64_t i = 0; i < count; ++i) {
    const RowView row = rows.Row(i);
    const auto finite = [](float value) { return std::isfinite(value); };
    if (careful && !std::all_of(row.floats, row.floats + classes_, finite)) {
      return kSoftpackNotFinite;
    }
    char* const out = static_cast<char*>(args.out) + (first + i) * label_bytes;
    table_->finish(head, row, classes_, scratch->row.data(), {out, type, streamed});
  }
  table_->fence();
  return kSoftpackOk;
}

}  // namespace softpack
