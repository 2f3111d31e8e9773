// The product of version 2 of `bfloat`: one thread that has tiles of the basis and codes copied,
// and two warpgroups of 64 labels that multiply by them, with codewords out of shared memory.
//
// Counted per step of 16 elements, both warpgroups, in cycles of a multiprocessor's shared memory
// of 128 bytes: it gives the products the tile twice, 128, takes in 8 kB of the next one, 64, and
// gives the 8 warps 32 words of codewords, 96 (8 runs of 16 bytes at random meet 3.0 times on
// average if codewords have an odd pitch), as many indices, 32, and recipes, 16. 336 in all, where
// the products take 256 at the peak rate: 76 % of it, 750 TFLOP/s at 1.755 GHz, about what power
// allows. A warp issues 45 instructions a step, 90 where odd codewords are joined, of the 168 that
// these cycles leave each of two.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_MAINLOOP_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_MAINLOOP_H_

#include "cuda/bfloat_hopper.h"

#ifdef SOFTPACK_HOPPER

namespace softpack {
namespace hopper {

// The copying thread. Each of two blocks that share tiles has half of each copied, to both.
template <class Ahead>
__device__ __forceinline__ void Produce(const Params& params, const Block& block,
                                        const Ahead& ahead) {
  constexpr uint32_t kHalf = kTileBytes / kLabelBlocks;
  const Shape& shape = params.shape;
  ArriveExpecting(block.codebook_full(), params.plan.codebook_bytes);
  CopyBulk(const_cast<unsigned char*>(block.codebook), params.codebook, params.plan.codebook_bytes,
           block.codebook_full());
  const unsigned char* const tiles =
      reinterpret_cast<const unsigned char*>(params.tiles) +
      static_cast<uint64_t>(block.column()) * shape.depth() * kTileBytes + block.half() * kHalf;
  const uint16_t both = static_cast<uint16_t>(3u << (block.rank & ~1u));
  Turn turn, codes;
  for (Schedule schedule(params, block); schedule.more(); schedule.Next()) {
    AwaitPhase(block.codes_empty(codes.slot), codes.parity ^ 1);
    const uint32_t bytes = RoundUp16(schedule.labels_read() * shape.stages * 2);
    ArriveExpecting(block.codes_full(codes.slot), bytes);
    CopyBulk(block.codes + codes.slot * params.plan.codes_bytes,
             params.indices + schedule.first_read() * shape.stages, bytes,
             block.codes_full(codes.slot));
    codes.Next(2);
#pragma unroll 1
    for (uint32_t k = 0; k < shape.depth(); ++k) {
      // Both blocks' warpgroups are done with what was there.
      AwaitPhase(block.empty(turn.slot), turn.parity ^ 1);
      ArriveExpecting(block.full(turn.slot), kTileBytes);
      CopyBulkToBlocks(block.tiles + turn.slot * kTileBytes + block.half() * kHalf,
                       tiles + static_cast<uint64_t>(k) * kTileBytes, kHalf, block.full(turn.slot),
                       both);
      ahead(block, schedule, k);
      turn.Next(params.plan.slots);
    }
  }
}

// Words of the first factor for a lane: of labels 8 apart, of columns 4 words apart.
class CodewordReader {
 public:
  __device__ CodewordReader(const Params& params, const Block& block)
      : recipes_(reinterpret_cast<const uint2*>(block.recipes) + threadIdx.x % 4),
        codebook_(block.codebook),
        pitch_(params.shape.pitch() * 4),
        whole_steps_(params.shape.whole_steps()) {}

  // Rows of codes of the lane's two labels.
  __device__ void Begin(const unsigned char* first, const unsigned char* second) {
    rows_[0] = first;
    rows_[1] = second;
  }

  __device__ __forceinline__ void Read(uint32_t step, uint32_t (&words)[4]) const {
    const uint2 recipes = recipes_[step * 4];
    if (step < whole_steps_) {
      words[0] = Whole(recipes.x, rows_[0]);
      words[1] = Whole(recipes.x, rows_[1]);
      words[2] = Whole(recipes.y, rows_[0]);
      words[3] = Whole(recipes.y, rows_[1]);
    } else {
      words[0] = Any(recipes.x, rows_[0]);
      words[1] = Any(recipes.x, rows_[1]);
      words[2] = Any(recipes.y, rows_[0]);
      words[3] = Any(recipes.y, rows_[1]);
    }
  }

 private:
  __device__ __forceinline__ uint32_t At(const unsigned char* index, uint32_t place) const {
    const uint32_t code = *reinterpret_cast<const uint16_t*>(index);
    return *reinterpret_cast<const uint32_t*>(codebook_ + (code * pitch_ + place));
  }
  __device__ __forceinline__ uint32_t Whole(uint32_t recipe, const unsigned char* row) const {
    return At(row + (recipe & 0xffffu), recipe >> 16);
  }
  __device__ __forceinline__ uint32_t Any(uint32_t recipe, const unsigned char* row) const {
    const uint32_t place = recipe >> 16 & ~3u;
    const unsigned char* const index = row + (recipe & 0xffffu);
    const uint32_t word = At(index, place);
    // The next stage's index is only there if the word is joined.
    const bool joined = (recipe >> 16 & 1u) != 0;
    return joined ? (word & 0xffffu) | At(index + 2, place) << 16 : word;
  }

  const uint2* recipes_;
  const unsigned char* codebook_;
  uint32_t pitch_;
  uint32_t whole_steps_;
  const unsigned char* rows_[2];
};

// Lets a slot be filled again, in both blocks that it is filled for.
__device__ __forceinline__ void FreeSlot(const Block& block, uint32_t slot) {
  const unsigned lane = threadIdx.x % kWarp;
  if (lane < kLabelBlocks) ArriveAt(block.empty(slot), lane == 0 ? block.rank : block.partner());
}

// Adds the product of this warpgroup's labels to `sums`. Words are read two steps ahead of the
// product that takes them, while the last two products run.
__device__ __forceinline__ void Multiply(const Params& params, const Block& block,
                                         const CodewordReader& reader, Turn& turn,
                                         float (&sums)[kProductSums]) {
  uint32_t words[kTileSteps][4];
  reader.Read(0, words[0]);
  reader.Read(1, words[1]);
  const uint32_t depth = params.shape.depth();
  uint32_t last = 0;
  for (uint32_t k = 0; k < depth; ++k) {
    AwaitPhase(block.full(turn.slot), turn.parity);
    const uint64_t tile = SwizzledDescriptor(SharedAddress(block.tiles + turn.slot * kTileBytes));
#pragma unroll
    for (uint32_t step = 0; step < kTileSteps; ++step) {
      FenceProducts();
      MultiplyWarpgroup(words[step], tile + step * 2, sums);
      CommitProducts();
      // The step two before this one is done: its words, and after the second step the tile before
      // this one, are free.
      AwaitProducts<2>();
      if (step == 1 && k > 0) FreeSlot(block, last);
      reader.Read(k * kTileSteps + step + 2, words[(step + 2) % kTileSteps]);
    }
    last = turn.slot;
    turn.Next(params.plan.slots);
  }
  AwaitProducts<0>();
  FreeSlot(block, last);
}

}  // namespace hopper
}  // namespace softpack

#endif

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_MAINLOOP_H_
