// Labels of version 2 of `bfloat` from its sums: the head over whole rows, whose parts lie in up to
// four blocks of a cluster, and streaming stores of four classes.
//
// Counted per tile: 128 sums of a thread by some 6 instructions, 1,500 issue slots of a scheduler's
// two warps, and an exchange's latency, against 21,500 cycles of the product. 128 kB of float32
// leave a block in 7,000 cycles at an H200's 4.3 TB/s, most of them while the next tile's products
// run.
#ifndef SOFTPACK_CUDA_BFLOAT_HOPPER_EPILOGUE_H_
#define SOFTPACK_CUDA_BFLOAT_HOPPER_EPILOGUE_H_

#include "core/scalar_math.h"
#include "cuda/bfloat_hopper_rows.h"

#ifdef SOFTPACK_HOPPER

namespace softpack {
namespace hopper {

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
