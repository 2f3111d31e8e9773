// What the parts of version 2 of `bfloat` share: the kernel's parameters and its shared memory.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_H_

#include "cuda/bfloat_pack.h"
#include "cuda/hopper.h"
#include "cuda/rows.h"

namespace softpack {
namespace hopper {

constexpr uint32_t kConsumers = 2;  // warpgroups, of half a tile's labels each
constexpr uint32_t kConsumerWarps = kConsumers * kWarpgroup / kWarp;
constexpr uint32_t kThreads = (1 + kConsumers) * kWarpgroup;
constexpr uint32_t kLabelBlocks = 2;  // of a cluster, that share tiles of classes

struct Params {
  Shape shape;
  Plan plan;
  const uint16_t* tiles;     // [columns, depth, kTileElements]
  const uint32_t* codebook;  // [levels, pitch], plan.codebook_bytes of it
  const uint16_t* indices;   // [count, stages]
  const float* bias;         // [classes rounded up to 64]
  RowTarget target;
};

#ifdef SOFTPACK_HOPPER

// A place in a ring of slots, and the parity of the phase that its barriers are in.
struct Turn {
  uint32_t slot = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next(uint32_t slots) {
    if (++slot < slots) return;
    slot = 0;
    parity ^= 1;
  }
};

// Pointers into a block's shared memory, and this block's part of the work.
struct Block {
  unsigned char* tiles;
  const unsigned char* codebook;
  unsigned char* codes;
  uint32_t* recipes;
  float* bias;
  float* sums;  // Plan::sums
  uint64_t* barriers;
  unsigned rank;

  __device__ Block(const Plan& plan)
      : tiles(SwizzledSharedMemory()),
        codebook(tiles + plan.codebook),
        codes(tiles + plan.codes),
        recipes(reinterpret_cast<uint32_t*>(tiles + plan.recipes)),
        bias(reinterpret_cast<float*>(tiles + plan.bias)),
        sums(reinterpret_cast<float*>(tiles + plan.sums)),
        barriers(reinterpret_cast<uint64_t*>(tiles + plan.barriers)),
        rank(ClusterRank()) {}

  // Ranks go through the labels first.
  __device__ unsigned half() const { return rank % kLabelBlocks; }
  __device__ unsigned column() const { return rank / kLabelBlocks; }
  __device__ unsigned partner() const { return rank ^ 1u; }
  __device__ unsigned rank_of(unsigned column) const { return column * kLabelBlocks + half(); }

  __device__ uint64_t* full(uint32_t slot) const { return barriers + slot; }
  __device__ uint64_t* empty(uint32_t slot) const { return barriers + kMostSlots + slot; }
  __device__ uint64_t* codes_full(uint32_t which) const {
    return barriers + 2 * kMostSlots + which;
  }
  __device__ uint64_t* codes_empty(uint32_t which) const {
    return barriers + 2 * kMostSlots + 2 + which;
  }
  __device__ uint64_t* codebook_full() const { return barriers + 2 * kMostSlots + 4; }
  __device__ uint64_t* summed(uint32_t which) const {
    return barriers + 2 * kMostSlots + 5 + which;
  }
};

// Tiles of labels that a cluster works on, two at a time: its own number, and every further one as
// many on as there are clusters. All take the same time, so nothing is handed out while they run.
struct Schedule {
  uint32_t pair;
  uint32_t pairs;
  uint32_t step;

  __device__ Schedule(const Params& params, const Block& block)
      : pair(blockIdx.x / (kLabelBlocks * params.shape.columns())),
        pairs(static_cast<uint32_t>((params.target.count + kLabelBlocks * kTileLabels - 1) /
                                    (kLabelBlocks * kTileLabels))),
        step(gridDim.x / (kLabelBlocks * params.shape.columns())),
        half_(block.half()),
        count_(params.target.count) {}
  __device__ bool more() const { return pair < pairs; }
  __device__ void Next() { pair += step; }
  __device__ uint64_t first_label() const {
    return (static_cast<uint64_t>(pair) * kLabelBlocks + half_) * kTileLabels;
  }
  // Where the tile's indices are read, and how many labels: a tile beyond the labels, the second of
  // the last two, does the first one's work and writes nothing.
  __device__ uint64_t first_read() const { return first_label() < count_ ? first_label() : 0; }
  __device__ uint32_t labels_read() const {
    const uint64_t left = count_ - first_read();
    return left < kTileLabels ? static_cast<uint32_t>(left) : kTileLabels;
  }

 private:
  unsigned half_;
  uint64_t count_;
};

#endif

}  // namespace hopper
}  // namespace softpack

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_H_
