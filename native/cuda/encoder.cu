// Labels to packed codes: project, nearest, pack, a chunk of labels whose projections stay in L2.
//
// Counted cost per label at (classes, latent, width, levels) = (1000, 1000, 20, 1024): 2 MFLOP of
// float32 for the projection, 40 ns at an H100's 51 TFLOP/s, and 51,000 distances: 45 ns in
// float32, 11 to 27 by tensor cores (nearest_tensor.cu). In all 15 to 20 M labels/s, 12 without
// tensor cores; the projection is what remains. 4 kB read from memory, 63 bytes written.
//
// Version 2 (encode_versions.h) projects on tensor cores, in 15 ns with splitting and bounds
// (split_project.cu), and 4.5 segments in 100 of ordinary labels again in float32: 4 ns for their
// projection (exact_segments.cu), 2 for their distances. In all 32 to 48 ns, where version 1 takes
// 52 to 68: 21 to 31 M labels/s. At (100, 64), where distances take 4 ns, 20 instead of 44.
#include "cuda/encoder.h"

#include <algorithm>

#include "core/bits.h"
#include "cuda/encode_versions.h"
#include "cuda/layout.h"
#include "cuda/nearest.h"
#include "cuda/project.h"

namespace softpack {
namespace {

constexpr unsigned kThreads = 256;
constexpr uint64_t kMostCrossing = 64 << 20;

struct PackParams {
  const uint16_t* indices;
  uint8_t* out;
  uint64_t count;
  uint32_t bits;
};

// One thread per byte: no two write the same one.
__global__ void PackKernel(PackParams params) {
  const uint64_t byte = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (byte >= (params.count * params.bits + 7) / 8) return;
  params.out[byte] = PackedByte(params.indices, params.count, params.bits, byte);
}

}  // namespace

void RunPack(Operation& operation, const uint16_t* indices, uint64_t count, uint32_t bits,
             uint8_t* out) {
  const uint64_t bytes = (count * bits + 7) / 8;
  if (bytes == 0) return;
  operation.Run("packing codes", PackKernel,
                {static_cast<unsigned>((bytes + kThreads - 1) / kThreads), kThreads},
                {indices, out, count, bits});
}

int CudaEncoder::Create(const SoftpackEncoderSpec& spec) {
  Operation operation;
  spec_ = spec;
  const auto hold = [&](DeviceArray& array, const float* from, uint64_t count) {
    if (operation.ok()) operation.Fail(array.Allocate(count * sizeof(float)));
    if (from != nullptr) operation.CopyIn(array.as<float>(), from, count * sizeof(float));
  };
  hold(projection_, spec.projection, spec.classes * spec.latent);
  hold(codebook_, spec.codebook, spec.levels * spec.width);
  hold(half_norms_, nullptr, spec.levels);
  RunHalfNorms(operation, codebook_.as<float>(), spec.levels, spec.width, half_norms_.as<float>());
  if (operation.ok() && TensorNearestFits(spec.width, spec.levels)) {
    operation.Fail(prepared_.Allocate(TensorNearestBytes(spec.width, spec.levels)));
    PrepareTensorNearest(operation, Search(nullptr, nullptr, 0), prepared_.as<void>());
  }
  if (operation.ok() && ChooseEncodeVersion(spec) == 2) {
    operation.Fail(split_.Allocate(SplitProjectionBytes(shape())));
    PrepareSplitProjection(operation, shape(), projection_.as<float>(), split_.as<void>());
  }
  return operation.Finish();
}

// What is written for a label between kernels stays in L2.
uint64_t CudaEncoder::ChunkLabels() const {
  const uint64_t values = 4 * spec_.latent;
  if (split_.bytes() == 0) return std::max<uint64_t>(Facts().l2_bytes / 2 / values, 1024);
  // Parts of labels, vectors and what bounds them; whole tiles.
  const uint64_t bytes = 4 * spec_.classes + 2 * values;
  constexpr uint64_t kLeast = 1024, kMost = 1 << 20;  // a grid has at most 65,535 rows of 32 labels
  return RoundUpTo(std::clamp<uint64_t>(Facts().l2_bytes / bytes, kLeast, kMost), 128);
}

CudaEncoder::Chunk CudaEncoder::TakeChunk(Operation& operation, uint64_t labels) const {
  const uint64_t segments = labels * shape().segments();
  Chunk chunk = {};
  chunk.indices = operation.Take<uint16_t>(segments);
  if (split_.bytes() > 0) {
    chunk.split = operation.Take<char>(SplitWorkBytes(shape(), labels));
    chunk.exact = operation.Take<char>(ExactWorkBytes(shape(), labels));
    return chunk;
  }
  chunk.projected = operation.Take<float>(labels * spec_.latent);
  if (prepared_.bytes() > 0) {
    chunk.search = operation.Take<char>(TensorNearestWorkBytes(segments, spec_.width));
  }
  return chunk;
}

void CudaEncoder::RunSearch(Operation& operation, const NearestParams& search, char* work) const {
  if (prepared_.bytes() > 0)
    RunTensorNearest(operation, search, prepared_.as<void>(), work);
  else
    RunNearest(operation, search);
}

void CudaEncoder::FindIndices(Operation& operation, const float* labels, uint64_t count,
                              const Chunk& chunk) const {
  if (split_.bytes() > 0) return FindIndicesBySplit(operation, labels, count, chunk);
  ProductParams product = {};
  product.a = {labels, spec_.classes, 1, count};
  product.b = {projection_.as<float>(), 1, spec_.latent, spec_.latent};
  product.out = chunk.projected;
  product.out_stride = spec_.latent;
  product.inner = spec_.classes;
  RunProduct(operation, product);
  RunSearch(operation, Search(chunk.projected, chunk.indices, count * shape().segments()),
            chunk.search);
}

void CudaEncoder::FindIndicesBySplit(Operation& operation, const float* labels, uint64_t count,
                                     const Chunk& chunk) const {
  const SplitLatents latents =
      RunSplitProjection(operation, shape(), labels, count, split_.as<void>(), chunk.split);
  NearestParams search = Search(latents.vectors, chunk.indices, count * shape().segments());
  search.off = latents.off;
  search.undecided = StartUndecided(operation, shape(), count, chunk.exact);
  RunSearch(operation, search, nullptr);
  RunExactSegments(operation, shape(), labels, count, projection_.as<float>(), search, chunk.exact);
}

NearestParams CudaEncoder::Search(const float* vectors, uint16_t* out, uint64_t count) const {
  return {vectors,     codebook_.as<float>(), half_norms_.as<float>(), out, count,
          spec_.width, spec_.levels};
}

int CudaEncoder::Encode(const SoftpackEncodeArgs& args) const {
  Operation operation(args.threads);
  const uint64_t segments = spec_.latent / spec_.width;
  const uint64_t label_bits = segments * spec_.bits;
  const bool labels_here = operation.OnDevice(args.labels);
  const bool out_here = operation.OnDevice(args.out);
  uint64_t chunk = ChunkLabels();
  if (!labels_here) {
    chunk = std::min(chunk, std::max<uint64_t>(kMostCrossing / (4 * spec_.classes), 8));
  }
  // Any 8 labels end on a whole byte: chunks never share one.
  chunk = std::min((chunk + 7) / 8 * 8, (args.count + 7) / 8 * 8);
  if (args.count == 0) return operation.Finish();
  float* const labels = labels_here ? nullptr : operation.Take<float>(chunk * spec_.classes);
  const Chunk work = TakeChunk(operation, chunk);
  uint8_t* const out = out_here ? nullptr : operation.Take<uint8_t>(chunk * label_bits / 8);
  for (uint64_t first = 0; operation.ok() && first < args.count; first += chunk) {
    const uint64_t count = std::min(chunk, args.count - first);
    const float* from = args.labels + first * spec_.classes;
    uint8_t* const to = args.out + first * label_bits / 8;
    if (!labels_here) {
      operation.CopyIn(labels, from, count * spec_.classes * sizeof(float));
      from = labels;
    }
    FindIndices(operation, from, count, work);
    RunPack(operation, work.indices, count * segments, spec_.bits, out_here ? to : out);
    if (!out_here) operation.CopyOut(to, out, (count * label_bits + 7) / 8);
  }
  return operation.Finish();
}

}  // namespace softpack
