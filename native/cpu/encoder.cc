#include "cpu/encoder.h"

#include <algorithm>

#include "core/bits.h"
#include "core/thread_pool.h"

using softpack::KernelTable;
using softpack::MatrixView;
using softpack::RoundUp;

namespace {

// Any 8 labels end on a whole byte, so blocks of a multiple of 8 never share one.
constexpr uint64_t kLabelUnit = 8;

}  // namespace

int SoftpackEncoder::Create(const softpack::Isa& isa, const SoftpackEncoderSpec& spec) {
  const KernelTable& table = *isa.kernels;
  table_ = &table;
  spec_ = spec;
  const MatrixView projection{spec.projection, spec.latent, 1};
  if (!projection_.Pack(table, projection, spec.classes, spec.latent) ||
      !cells_.Create(isa, spec.codebook, spec.levels, spec.width) || !sparse_.Create(table, spec)) {
    return kSoftpackOutOfMemory;
  }
  return kSoftpackOk;
}

int SoftpackEncoder::Encode(const SoftpackEncodeArgs& args) const {
  const uint64_t block = LabelsPerTask(args.count, args.threads);
  const uint64_t tasks = (args.count + block - 1) / block;
  return softpack::ParallelFor(args.threads, tasks, [&](uint64_t task) {
    return EncodeBlock(args, task * block, std::min(block, args.count - task * block));
  });
}

uint64_t SoftpackEncoder::LabelsPerTask(uint64_t count, uint32_t threads) const {
  return softpack::BlockSize(count, softpack::ResolveThreads(threads), kLabelUnit,
                             RoundUp(table_->row_block, kLabelUnit));
}

// Indices of each label's segments, in scratch->indices.
int SoftpackEncoder::FindIndices(const float* labels, uint64_t count, Scratch* scratch) const {
  uint16_t* const indices = scratch->indices.data();
  int status;
  if (sparse_.Keep(labels, count, &scratch->sparse, &status)) {
    return sparse_.Encode(labels, count, cells_, &scratch->sparse, &scratch->cells, indices);
  }
  if (status != kSoftpackOk) return status;
  float* const projected = scratch->projected.data();
  std::fill_n(projected, count * spec_.latent, 0.0f);
  projection_.MultiplyInto(*table_, {labels, spec_.classes, 1}, count, projected, spec_.latent,
                           scratch->product.data());
  return cells_.Find({projected, count * (spec_.latent / spec_.width), indices, nullptr, nullptr},
                     &scratch->cells);
}

int SoftpackEncoder::EncodeBlock(const SoftpackEncodeArgs& args, uint64_t first,
                                 uint64_t labels) const {
  const softpack::ScratchPool<Scratch>::Lease lease(scratch_);
  Scratch* const scratch = lease.get();
  const uint64_t segments = spec_.latent / spec_.width;
  if (scratch == nullptr || !scratch->projected.Reserve(labels * spec_.latent) ||
      !scratch->indices.Reserve(labels * segments) ||
      !scratch->product.Reserve(softpack::ScratchFloats(*table_))) {
    return kSoftpackOutOfMemory;
  }
  const int status = FindIndices(args.labels + first * spec_.classes, labels, scratch);
  if (status != kSoftpackOk) return status;
  uint8_t* const out = args.out + first * segments * spec_.bits / 8;
  std::fill_n(out, (labels * segments * spec_.bits + 7) / 8, uint8_t{0});
  softpack::PackIndices(scratch->indices.data(), 0, spec_.bits, labels * segments, out);
  return kSoftpackOk;
}
