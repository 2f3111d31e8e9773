// The kernels of version 2 of `bfloat`: what its warpgroups do, whatever the products are used for.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_KERNEL_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_KERNEL_H_

#include "cuda/bfloat_hopper_mainloop.h"
#include "cuda/bfloat_hopper_rows.h"
#include "cuda/decoder.h"

namespace softpack {
namespace hopper {

// An image without the instructions allows fewer threads, by which the host tells it.
#if defined(SOFTPACK_HOPPER) || !defined(__CUDA_ARCH__)
constexpr unsigned kLaunchThreads = kThreads;
#else
constexpr unsigned kLaunchThreads = 32;
#endif

#ifdef SOFTPACK_HOPPER

// Registers of a thread: 65,536 of a block, which begins with 168 each.
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;

__device__ __forceinline__ void Prepare(const Params& params, const Block& block) {
  if (threadIdx.x == 0) {
#pragma unroll 1
    for (uint32_t slot = 0; slot < params.plan.slots; ++slot) {
      InitBarrier(block.full(slot), 1);
      InitBarrier(block.empty(slot), kLabelBlocks * kConsumerWarps);
    }
    for (uint32_t which = 0; which < 2; ++which) {
      InitBarrier(block.codes_full(which), 1);
      InitBarrier(block.codes_empty(which), kConsumerWarps);
      InitBarrier(block.summed(which), 1);
    }
    InitBarrier(block.codebook_full(), 1);
    PublishBarriers();
  }
  const uint32_t words = params.shape.depth() * kTileWords + 2 * kStepWords;
  for (uint32_t at = threadIdx.x; at < words; at += kThreads) {
    block.recipes[RecipePosition(at)] = Recipe(WordAt(params.shape, at));
  }
  const uint32_t first = block.column() * kTileClasses;
  for (uint32_t at = threadIdx.x; at < kTileClasses; at += kThreads) {
    block.bias[at] = first + at < params.shape.classes ? params.bias[first + at] : 0.0f;
  }
}

// `use(block_row, first_label + block_row, sums)` for this thread's first row of every tile.
template <class Use>
__device__ __forceinline__ void Consume(const Params& params, const Block& block, Use& use) {
  const uint32_t thread = threadIdx.x - kWarpgroup;
  const uint32_t row = thread / kWarp * 16 + thread % kWarp / 4;  // and 8 further down
  const uint32_t row_bytes = params.shape.stages * 2;
  CodewordReader reader(params, block);
  Turn turn, codes;
  float sums[kProductSums];
  AwaitPhase(block.codebook_full(), 0);
  for (Schedule schedule(params, block); schedule.more(); schedule.Next()) {
    StartSums(block, sums);
    AwaitPhase(block.codes_full(codes.slot), codes.parity);
    const unsigned char* const rows = block.codes + codes.slot * params.plan.codes_bytes;
    const uint32_t last = schedule.labels_read() - 1;
    reader.Begin(rows + (row < last ? row : last) * row_bytes,
                 rows + (row + 8 < last ? row + 8 : last) * row_bytes);
    Multiply(params, block, reader, turn, sums);
    __syncwarp();
    if (threadIdx.x % kWarp == 0) ArriveAt(block.codes_empty(codes.slot), block.rank);
    codes.Next(2);
    use(row, schedule.first_label() + row, sums);
  }
}

// A kernel's body. `ahead(block, schedule, k)` is called when tile k of the basis is copied for a
// tile of labels.
template <class Use, class Ahead>
__device__ __forceinline__ void RunBlock(const Params& params, const Ahead& ahead) {
  const Block block(params.plan);
  Prepare(params, block);
  ClusterSync();
  if (threadIdx.x < kWarpgroup) {
    ReleaseRegisters<kProducerRegisters>();
    if (threadIdx.x == 0) Produce(params, block, ahead);
    __syncwarp();
  } else {
    ClaimRegisters<kConsumerRegisters>();
    Use use(params, block);
    Consume(params, block, use);
  }
  // Others write to this block's shared memory until here.
  ClusterSync();
}

#endif

inline Shape ShapeOf(const DecoderTables& tables) {
  return {static_cast<uint32_t>(tables.stages), static_cast<uint32_t>(tables.width),
          static_cast<uint32_t>(tables.levels), static_cast<uint32_t>(tables.classes)};
}

inline unsigned ClusterOf(const Shape& shape) { return kLabelBlocks * shape.columns(); }

// Clusters of a kernel that the device runs at once, at least 1.
inline uint32_t CountClusters(Operation& operation, void (*kernel)(Params), const Shape& shape,
                              const Plan& plan) {
  const unsigned cluster = ClusterOf(shape);
  operation.Check(AllowMostShared(reinterpret_cast<const void*>(kernel)),
                  "asking for shared memory");
  int clusters = 0;
  operation.Check(MostClusters(kernel, {cluster, kThreads, plan.bytes, cluster}, &clusters),
                  "counting clusters");
  return clusters > 0 ? static_cast<uint32_t>(clusters) : 1;
}

// `clusters`: as many as run at once.
inline void RunClusters(Operation& operation, const char* doing, void (*kernel)(Params),
                        uint32_t clusters, const Params& params) {
  const uint64_t pairs =
      (params.target.count + kLabelBlocks * kTileLabels - 1) / (kLabelBlocks * kTileLabels);
  const unsigned cluster = ClusterOf(params.shape);
  const unsigned running = static_cast<unsigned>(pairs < clusters ? pairs : clusters);
  operation.Run(doing, kernel, {running * cluster, kThreads, params.plan.bytes, cluster}, params);
}

}  // namespace hopper
}  // namespace softpack

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_KERNEL_H_
