// Losses and gradients by version 2 of `bfloat` (bfloat_hopper.cu): the same main loop, and an
// epilogue that reads the student's logits (bfloat_hopper_loss.h). Never run on a device.
//
// Counted cost per label at (classes, latent) = (1000, 1000), padded to 1024 by 1024, float32
// logits and gradient: 670 cycles of a multiprocessor for the product, as for labels, then 250 to
// 290 for the epilogue, which follows a tile's products and does not overlap with them: 235 M
// labels/s by the 128 multiprocessors of an H200 that 16 clusters of 8 take, at 1.755 GHz.
// Version 1 is limited to 170 M by its product's operands alone. From L2: 8 kB of tiles, and 8 kB
// of logits in two reads; to and from memory 8 kB, 1.9 TB/s of 4.8. What bounds it: the main loop's
// shared memory, and the instructions that the epilogue issues.
#include "cuda/bfloat_hopper_loss.h"

#include "cuda/bfloat_hopper_kernel.h"

namespace softpack {
namespace {

using namespace hopper;

template <class Element>
__global__ void __launch_bounds__(kLaunchThreads, 1) HopperLossKernel(Params params) {
#ifdef SOFTPACK_HOPPER
  RunBlock<LossUse<Element>>(params, LogitsAhead<Element>{params});
#endif
}

Plan LossPlan(const Shape& shape) { return PlanOf(shape, kLossQuantities, Facts().shared_bytes); }

}  // namespace

uint32_t CountLossClusters(Operation& operation, const DecoderTables& tables) {
  const Shape shape = ShapeOf(tables);
  const Plan plan = LossPlan(shape);
  if (plan.slots == 0 || !operation.ok()) return 0;
  // The element types take the same threads and shared memory.
  return CountClusters(operation, HopperLossKernel<FloatElement>, shape, plan);
}

void RunHopperLosses(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target) {
  const Shape shape = ShapeOf(tables);
  const Params params = {
      shape,       LossPlan(shape), tables.hopper_tiles, tables.hopper_codebook, chunk.indices,
      tables.bias, target};
  const auto kernel = target.logits_type == kSoftpackFloat32   ? HopperLossKernel<FloatElement>
                      : target.logits_type == kSoftpackFloat16 ? HopperLossKernel<HalfElement>
                                                               : HopperLossKernel<BfloatElement>;
  RunClusters(operation, "the loss by warpgroups", kernel, tables.hopper_loss_clusters, params);
}

}  // namespace softpack
