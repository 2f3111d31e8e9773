// project, nearest and pack, a block of labels at a time: projections and indices never leave the
// cache.
#include <algorithm>

#include "core/bits.h"
#include "core/thread_pool.h"
#include "cpu/operations.h"
#include "cpu/packed_matrix.h"

namespace softpack {
namespace {

// Any 8 labels end on a whole byte, so blocks of a multiple of 8 never share one.
constexpr uint64_t kLabelUnit = 8;

uint64_t LabelsATask(const KernelTable& table, uint64_t count, uint32_t threads) {
  const uint64_t share = (count + ResolveThreads(threads) - 1) / ResolveThreads(threads);
  const uint64_t block = RoundUp(table.row_block, kLabelUnit);
  return std::min(block, RoundUp(std::max<uint64_t>(share, 1), kLabelUnit));
}

struct Encoder {
  const KernelTable& table;
  const SoftpackEncodeArgs& args;
  PackedMatrix projection;
  Buffer<float> groups;

  int EncodeBlock(uint64_t first, uint64_t labels) const {
    const uint64_t indices_count = labels * (args.latent / args.width);
    Buffer<float> projected(labels * args.latent);
    Buffer<uint16_t> indices(indices_count);
    Buffer<float> scratch(ScratchFloats(table));
    if (!projected || !indices || !scratch) return kSoftpackOutOfMemory;
    std::fill_n(projected.data(), labels * args.latent, 0.0f);
    const MatrixView block{args.labels + first * args.classes, args.classes, 1};
    projection.MultiplyInto(table, block, labels, projected.data(), args.latent, scratch.data());
    table.nearest(projected.data(), groups.data(), indices_count, args.width, args.levels,
                  indices.data());
    const uint64_t start = first * (args.latent / args.width) * args.bits / 8;
    const uint64_t bytes = (indices_count * args.bits + 7) / 8;
    std::fill_n(args.out + start, bytes, uint8_t{0});
    PackIndices(indices.data(), 0, args.bits, indices_count, args.out + start);
    return kSoftpackOk;
  }
};

}  // namespace

int Encode(const KernelTable& table, const SoftpackEncodeArgs& args) {
  Encoder encoder{table, args, {}, {}};
  const MatrixView projection{args.projection, args.latent, 1};
  if (!encoder.projection.Pack(table, projection, args.classes, args.latent) ||
      !encoder.groups.Allocate(GroupedFloats(table, args.levels, args.width))) {
    return kSoftpackOutOfMemory;
  }
  table.group_codebook(args.codebook, args.levels, args.width, encoder.groups.data());
  const uint64_t block = LabelsATask(table, args.count, args.threads);
  const uint64_t tasks = (args.count + block - 1) / block;
  return ParallelFor(args.threads, tasks, [&](uint64_t task) {
    return encoder.EncodeBlock(task * block, std::min(block, args.count - task * block));
  });
}

}  // namespace softpack
