// Version 2 of `bfloat`, for compute capability 9.0a: labels of adjacent segments of one codebook
// by warp-specialised products (wgmma) of tiles that arrive by bulk copies. Never run on a device;
// version 1 (bfloat_labels.cu) stays the default until a measurement says otherwise
// (bfloat_versions.h).
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
#include "cuda/bfloat_hopper_mainloop.h"
#include "cuda/bfloat_versions.h"
#include "cuda/decoder.h"
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

// Registers of a thread: 65,536 of a block, which begins with 168 each.
constexpr int kProducerRegisters = 24;
constexpr int kConsumerRegisters = 240;

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

__device__ __forceinline__ void Consume(const Params& params, const Block& block) {
  const uint32_t thread = threadIdx.x - kWarpgroup;
  const uint32_t row = thread / kWarp * 16 + thread % kWarp / 4;  // and 8 further down
  const uint32_t row_bytes = params.shape.stages * 2;
  CodewordReader reader(params, block);
  Exchange exchange(params, block);
  Turn turn, codes;
  float sums[kProductSums], scales[kRows];
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
    ApplyHead(params, block, row, exchange, sums, scales);
    WriteLabels(params, block, schedule.first_label() + row, sums, scales);
  }
}

#endif

// An image without the instructions allows fewer threads, by which the host tells it.
#if defined(SOFTPACK_HOPPER) || !defined(__CUDA_ARCH__)
constexpr unsigned kLaunchThreads = kThreads;
#else
constexpr unsigned kLaunchThreads = 32;
#endif

__global__ void __launch_bounds__(kLaunchThreads, 1) HopperLabelsKernel(Params params) {
#ifdef SOFTPACK_HOPPER
  const Block block(params.plan);
  Prepare(params, block);
  ClusterSync();
  if (threadIdx.x < kWarpgroup) {
    ReleaseRegisters<kProducerRegisters>();
    if (threadIdx.x == 0) Produce(params, block);
    __syncwarp();
  } else {
    ClaimRegisters<kConsumerRegisters>();
    Consume(params, block);
  }
  // Others write to this block's shared memory until here.
  ClusterSync();
#endif
}

Shape ShapeOf(const DecoderTables& tables) {
  return {static_cast<uint32_t>(tables.stages), static_cast<uint32_t>(tables.width),
          static_cast<uint32_t>(tables.levels), static_cast<uint32_t>(tables.classes)};
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
  tables_.hopper_clusters = 0;
  if (!operation.ok()) return;
  const Plan plan = PlanOf(shape, Facts().shared_bytes);
  const unsigned cluster = kLabelBlocks * shape.columns();
  operation.Check(AllowMostShared(reinterpret_cast<const void*>(HopperLabelsKernel)),
                  "asking for shared memory");
  int clusters = 0;
  operation.Check(
      MostClusters(HopperLabelsKernel, {cluster, kThreads, plan.bytes, cluster}, &clusters),
      "counting clusters");
  tables_.hopper_clusters = clusters > 0 ? static_cast<uint32_t>(clusters) : 1;
}

void RunHopperLabels(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target) {
  const Shape shape = ShapeOf(tables);
  const Plan plan = PlanOf(shape, Facts().shared_bytes);
  const uint64_t pairs =
      (chunk.count + kLabelBlocks * kTileLabels - 1) / (kLabelBlocks * kTileLabels);
  const unsigned cluster = kLabelBlocks * shape.columns();
  const unsigned clusters =
      static_cast<unsigned>(pairs < tables.hopper_clusters ? pairs : tables.hopper_clusters);
  operation.Run("decoding by warpgroups", HopperLabelsKernel,
                {clusters * cluster, kThreads, plan.bytes, cluster},
                {shape, plan, tables.hopper_tiles, tables.hopper_codebook, chunk.indices,
                 tables.bias, target});
}

}  // namespace softpack
