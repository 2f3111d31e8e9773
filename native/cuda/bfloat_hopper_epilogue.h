// Labels of version 2 of `bfloat` from its sums: the head over whole rows, whose parts lie in up to
// four blocks of a cluster, and streaming stores of four classes.
//
// A warp has 16 rows of all classes of its block, a quad of lanes two of them, so that a row's part
// takes two shuffles. Lane l of a quad then sends it to the block of columns l, which waits for
// bytes, not for threads: no barrier of the cluster. Counted per tile: 128 sums of a thread by some
// 6 instructions, 1,500 issue slots of a scheduler's two warps, and an exchange's latency, against
// 21,500 cycles of the product. 128 kB of float32 leave a block in 7,000 cycles at an H200's 4.3
// TB/s, most of them while the next tile's products run.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_EPILOGUE_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_EPILOGUE_H_

#include "core/scalar_math.h"
#include "cuda/bfloat_hopper.h"

#ifdef SOFTPACK_HOPPER

namespace softpack {
namespace hopper {

constexpr int kRows = 2;                          // of a thread, 8 apart
constexpr int kFours = kProductSums / kRows / 4;  // four adjacent classes of one row
constexpr int kFourStep = 16;                     // classes from one to the next

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Most {
  __device__ float operator()(float a, float b) const { return Greater(a, b); }
};

// Sum of element `i` of four `f`, of row `r`.
__device__ __forceinline__ constexpr int SumAt(int f, int r, int i) {
  return 8 * f + i / 2 * 4 + 2 * r + i % 2;
}

// Totals of whole rows from this thread's parts, in the order of the columns' tiles. The n-th
// exchange of a block: buffers alternate, as a block that begins the one after next has all parts
// of the next one, which nobody sends before having read this one's.
class Exchange {
 public:
  __device__ Exchange(const Params& params, const Block& block)
      : block_(block), columns_(params.shape.columns()) {}

  template <class Combine>
  __device__ __forceinline__ void Total(float (&parts)[kRows], uint32_t row,
                                        const Combine& combine) {
    const unsigned lane = threadIdx.x % 4;
    float* const received = block_.sums + turn_.slot * kMostColumns * kTileLabels;
    uint64_t* const summed = block_.summed(turn_.slot);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      parts[r] = combine(parts[r], __shfl_xor_sync(kFullWarp, parts[r], 1));
      parts[r] = combine(parts[r], __shfl_xor_sync(kFullWarp, parts[r], 2));
      if (lane < columns_) {
        SendFloat(received + block_.column() * kTileLabels + row + 8 * r, parts[r], summed,
                  block_.rank_of(lane));
      }
    }
    if (threadIdx.x == kWarpgroup) ArriveExpecting(summed, columns_ * kTileLabels * 4);
    AwaitSent(summed, turn_.parity);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float total = received[row + 8 * r];
      for (uint32_t column = 1; column < columns_; ++column) {
        total = combine(total, received[column * kTileLabels + row + 8 * r]);
      }
      parts[r] = total;
    }
    turn_.Next(2);
  }

 private:
  const Block& block_;
  uint32_t columns_;
  Turn turn_;
};

// Classes of this block from its first, that exist: at most a tile.
__device__ __forceinline__ uint32_t ClassesHere(const Params& params, const Block& block) {
  const uint32_t left = params.shape.classes - block.column() * kTileClasses;
  return left < kTileClasses ? left : kTileClasses;
}

__device__ __forceinline__ void StartSums(const Block& block, float (&sums)[kProductSums]) {
  const uint32_t first = threadIdx.x % 4 * 4;
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
    const float4 bias = *reinterpret_cast<const float4*>(block.bias + f * kFourStep + first);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sums[SumAt(f, r, 0)] = bias.x;
      sums[SumAt(f, r, 1)] = bias.y;
      sums[SumAt(f, r, 2)] = bias.z;
      sums[SumAt(f, r, 3)] = bias.w;
    }
  }
}

// Calls f(sum, r, i) for each sum that is a class; i: of the four.
template <class Function>
__device__ __forceinline__ void ForEachClass(uint32_t classes, float (&sums)[kProductSums],
                                             const Function& use) {
  const uint32_t first = threadIdx.x % 4 * 4;
#pragma unroll
  for (int f = 0; f < kFours; ++f) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + f * kFourStep + i >= classes) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) use(sums[SumAt(f, r, i)], r, i);
    }
  }
}

// From v to the head's numerators; the factors of a row that make them labels.
__device__ __forceinline__ void ApplyHead(const Params& params, const Block& block, uint32_t row,
                                          Exchange& exchange, float (&sums)[kProductSums],
                                          float (&scales)[kRows]) {
  const HeadParams head = params.target.head;
  const uint32_t classes = ClassesHere(params, block);
  scales[0] = scales[1] = 1.0f;
  if (head.kind == kSoftpackHeadIdentity) return;
  float greatest[kRows] = {-Infinity(), -Infinity()};
  // Four sums side by side, as an addition takes four cycles.
  float parts[kRows][4] = {};
  if (head.kind == kSoftpackHeadClamp) {
    ForEachClass(classes, sums, [&](float& value, int r, int i) {
      value = Greater(head.parameter, value);
      parts[r][i] += value;
    });
  } else {
    ForEachClass(classes, sums,
                 [&](float value, int r, int) { greatest[r] = Greater(greatest[r], value); });
    exchange.Total(greatest, row, Most());
    ForEachClass(classes, sums, [&](float& value, int r, int i) {
      value = scalar::Exp((value - greatest[r]) * head.parameter);
      parts[r][i] += value;
    });
  }
  float totals[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    totals[r] = (parts[r][0] + parts[r][1]) + (parts[r][2] + parts[r][3]);
  }
  exchange.Total(totals, row, Plus());
#pragma unroll
  for (int r = 0; r < kRows; ++r) scales[r] = 1.0f / totals[r];
}

// Rows whose fours are aligned have whole sectors written by each quad of lanes.
__device__ __forceinline__ void WriteLabels(const Params& params, const Block& block,
                                            uint64_t label, float (&sums)[kProductSums],
                                            const float (&scales)[kRows]) {
  const RowTarget& target = params.target;
  const uint32_t classes = ClassesHere(params, block);
  const uint32_t first = threadIdx.x % 4 * 4;
  const bool fours =
      params.shape.classes % 4 == 0 &&
      reinterpret_cast<uintptr_t>(target.out) % (4 * SoftpackDtypeBytes(target.out_type)) == 0;
  WithElement(target.out_type, [&](auto element) {
    using Type = typename decltype(element)::Type;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (label + 8 * r >= target.count) continue;
      Type* const out = static_cast<Type*>(target.out) + (label + 8 * r) * params.shape.classes +
                        block.column() * kTileClasses;
#pragma unroll
      for (int f = 0; f < kFours; ++f) {
        const uint32_t column = first + f * kFourStep;
        float four[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) four[i] = sums[SumAt(f, r, i)] * scales[r];
        if (fours) {
          if (column < classes) element.StreamFour(out + column, four);
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (column + i < classes) element.Store(out, column + i, four[i]);
          }
        }
      }
    }
  });
}

}  // namespace hopper
}  // namespace softpack

#endif

#endif  // SOFTPACK_CUDA_BFLOAT_HOPPER_EPILOGUE_H_
