// Rows of values, as a product left them, to labels or to losses: one warp per row.
//
// Counted cost per label at 1,000 classes: 4 kB of values read (from L2, where the product just
// wrote them), 2 or 4 kB of labels written; with the loss 4 kB of logits read and 4 kB of gradient
// written. Up to 1,024 classes every value is read once and stays in registers; beyond that, three
// times.
#include "cuda/decoder.h"

namespace softpack {
namespace {

constexpr int kWarps = 4;

struct RowParams {
  RowTarget target;
  float* values;
  uint64_t stride;
};

// Blocks per multiprocessor that registers suffice for. Left to itself, ptxas aims at four of the
// loss on 8.6 and 8.9, and spills.
constexpr int kLeastBlocks = 3;

template <RowUse kUse, bool kInRegisters>
__global__ void __launch_bounds__(kWarps* kWarp, kLeastBlocks) RowKernel(RowParams params) {
  const uint64_t label = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (label >= params.target.count) return;
  float* const values = params.values + label * params.stride;
  if constexpr (kInRegisters) {
    LaneRow<true> row;
    ForEachColumn<true>(params.target.classes, [&](int t, uint64_t j) { row.Set(t, values[j]); });
    UseRow<kUse, true>(params.target, label, row);
  } else {
    LaneRow<false> row(values);
    UseRow<kUse, false>(params.target, label, row);
  }
}

}  // namespace

void RunRows(Operation& operation, const RowTarget& target, RowUse use, float* values,
             uint64_t stride) {
  const bool fits = target.classes <= kRegisterClasses;
  const auto kernel =
      use == RowUse::kDecode
          ? (fits ? RowKernel<RowUse::kDecode, true> : RowKernel<RowUse::kDecode, false>)
          : (fits ? RowKernel<RowUse::kKl, true> : RowKernel<RowUse::kKl, false>);
  const unsigned blocks = static_cast<unsigned>((target.count + kWarps - 1) / kWarps);
  operation.Run("finishing labels", kernel, {blocks, kWarps * kWarp}, {target, values, stride});
}

}  // namespace softpack
