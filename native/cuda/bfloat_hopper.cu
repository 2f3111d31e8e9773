// Version 2 of `bfloat`, for compute capability 9.0a: labels of adjacent segments of one codebook,
// and losses of them (bfloat_hopper_loss.cu), by warp-specialised products (wgmma) of tiles that
// arrive by bulk copies. Never run on a device; version 1 (bfloat_labels.cu) stays the default
// until a measurement says otherwise (bfloat_versions.h).
//
// A cluster of two by up to four blocks makes 256 labels of all classes: 128 labels by 256 classes
// a block. One thread of a block has tiles of 256 classes by 64 latent elements copied, which the
// basis was cut into when the decoder was created, half of each for both blocks that need it; two
// warpgroups of 64 labels multiply by them with the sums in registers, and codewords as the first
// factor in registers too, looked up in the codebook in shared memory. The blocks exchange parts of
// the head's sums (bfloat_hopper_epilogue.h) and write labels. Neither latents nor values are ever
// in memory.
//
// Counted cost per label at (classes, latent) = (1000, 1000), padded to 1024 by 1024: 2.1 MFLOP,
// 670 cycles of a multiprocessor (bfloat_hopper_mainloop.h), 330 M labels/s by the 128 of an H200
// that 16 clusters of 8 take, at 1.755 GHz; with an epilogue of a tenth 300 M. From L2: 8 kB of
// tiles, as two blocks share them, 2.4 TB/s; 80 to 320 bytes of indices, four times. To memory: 4
// kB (2 kB) of labels, 1.2 TB/s.
#include "core/scalar_math.h"
#include "cuda/bfloat_hopper_epilogue.h"
#include "cuda/bfloat_hopper_kernel.h"
#include "cuda/bfloat_versions.h"
#include "cuda/layout.h"

namespace softpack {
namespace {

using namespace hopper;

constexpr unsigned kPackThreads = 256;

struct TilesParams {
  const float* basis;  // [latent, classes]
  uint16_t* tiles;
  Shape shape;
};

// A block a row of a tile: 64 elements of a class.
__global__ void TilesKernel(TilesParams params) {
  const Shape& shape = params.shape;
  const uint32_t row = blockIdx.x % kTileClasses, tile = blockIdx.x / kTileClasses;
  const uint64_t column = tile / shape.depth() * kTileClasses + ClassOfRow(row);
  const int32_t element = LatentOf(shape, tile % shape.depth() * kTileDepth + threadIdx.x);
  float value = 0.0f;
  if (element >= 0 && column < shape.classes) {
    value = params.basis[static_cast<uint64_t>(element) * shape.classes + column];
  }
  params.tiles[static_cast<uint64_t>(tile) * kTileElements + TilePosition(row, threadIdx.x)] =
      scalar::FloatToBfloat(value);
}

struct CodebookParams {
  const float* from;  // [levels, width]
  uint16_t* to;       // [levels, 2 * pitch], zeros behind a codeword
  Shape shape;
};

__global__ void CodebookKernel(CodebookParams params) {
  const uint32_t row = 2 * params.shape.pitch(), width = params.shape.width;
  for (uint32_t at = threadIdx.x; at < row; at += kPackThreads) {
    const float value = at < width ? params.from[uint64_t{blockIdx.x} * width + at] : 0.0f;
    params.to[uint64_t{blockIdx.x} * row + at] = scalar::FloatToBfloat(value);
  }
}

#ifdef SOFTPACK_HOPPER

// From the products of a tile to labels.
class LabelsUse {
 public:
  __device__ LabelsUse(const Params& params, const Block& block)
      : params_(params), block_(block), exchange_(params, block) {}
  __device__ __forceinline__ void operator()(uint32_t row, uint64_t label,
                                             float (&sums)[kProductSums]) {
    float scales[kRows];
    ApplyHead(params_, block_, row, exchange_, sums, scales);
    WriteLabels(params_, block_, label, sums, scales);
  }

 private:
  const Params& params_;
  const Block& block_;
  Exchange exchange_;
};

#endif

__global__ void __launch_bounds__(kLaunchThreads, 1) HopperLabelsKernel(Params params) {
#ifdef SOFTPACK_HOPPER
  RunBlock<LabelsUse>(params, [](const Block&, const Schedule&, uint32_t) {});
#endif
}

}  // namespace

bool HopperImage() {
  int threads = 0;
  return MostThreads(HopperLabelsKernel, &threads) == cudaSuccess &&
         threads >= static_cast<int>(kThreads);
}

void CudaDecoder::CreateHopper(Operation& operation, const SoftpackDecoderSpec& spec) {
  const Shape shape = ShapeOf(tables_);
  const uint32_t tiles = shape.columns() * shape.depth();
  uint16_t* const packed =
      Hold<uint16_t>(operation, hopper_tiles_, uint64_t{tiles} * kTileElements);
  operation.Run("cutting the basis into tiles", TilesKernel, {tiles * kTileClasses, kTileDepth},
                {tables_.basis, packed, shape});
  const uint64_t elements = uint64_t{shape.levels} * shape.pitch() * 2;
  uint16_t* const codebook = Hold<uint16_t>(operation, hopper_codebook_, RoundUpTo(elements, 8));
  operation.Run("rounding codewords", CodebookKernel,
                {static_cast<unsigned>(spec.levels), kPackThreads},
                {tables_.codebooks, codebook, shape});
  tables_.hopper_tiles = packed;
  tables_.hopper_codebook = reinterpret_cast<const uint32_t*>(codebook);
  const Plan plan = PlanOf(shape, kLabelQuantities, Facts().shared_bytes);
  tables_.hopper_clusters =
      operation.ok() ? CountClusters(operation, HopperLabelsKernel, shape, plan) : 0;
  tables_.hopper_loss_clusters = CountLossClusters(operation, tables_);
}

void RunHopperLabels(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target) {
  const Shape shape = ShapeOf(tables);
  RunClusters(operation, "decoding by warpgroups", HopperLabelsKernel, tables.hopper_clusters,
              {shape, PlanOf(shape, kLabelQuantities, Facts().shared_bytes), tables.hopper_tiles,
               tables.hopper_codebook, chunk.indices, tables.bias, target});
}

}  // namespace softpack
