// Records of indices to latents, a thread for each label, which walks its trellis. In float64 where
// the CPU's decoder is (cpu/quantiser_loops.h, src/codecs/transform/base-vectors.ts): the bytes are
// its.
//
// Counted per label of 64 components at scattered positions: 64 sectors of 32 bytes read, and as
// many written in part; the labels of 1,000 classes are 2 to 4 kB.
#include "core/quantiser.h"
#include "cuda/transform.h"

namespace softpack {
namespace {

struct LatentParams {
  TransformTables tables;
  TransformChunk chunk;
  float* latents;
  uint32_t* fault;
};

constexpr unsigned kThreads = 64;

// What a label is predicted from: weight * a + (1 - weight) * b.
struct Prediction {
  const float* a;
  const float* b;
  double weight;
};

__device__ Prediction PredictionOf(const LatentParams& params, uint64_t i) {
  const TransformTables& tables = params.tables;
  if (params.chunk.pairs == nullptr) return {nullptr, nullptr, 0};
  uint32_t a = params.chunk.pairs[2 * i], b = params.chunk.pairs[2 * i + 1];
  if (a >= tables.base_rows || b >= tables.base_rows) {
    atomicMax(params.fault, static_cast<unsigned>(kSoftpackInvalidArgument));
    a = b = 0;
  }
  const double weight = a == b ? 1.0 : static_cast<double>(params.chunk.weights[i]);
  const uint64_t components = tables.record.components;
  return {tables.bases + a * components, tables.bases + b * components, weight};
}

// The indices of a label, from one row to the next 2^block_bits further on; null, and reported, if
// there is no such label.
__device__ const int16_t* IndicesOf(const LatentParams& params, uint64_t position) {
  const RecordShape& shape = params.tables.record;
  const uint64_t block = position >> shape.block_bits;
  const uint32_t column = static_cast<uint32_t>(position) & ((1u << shape.block_bits) - 1);
  if (block < params.chunk.record_count) {
    const uint8_t* const record = params.chunk.records + block * shape.bytes;
    if (column < *reinterpret_cast<const uint32_t*>(record)) {
      return reinterpret_cast<const int16_t*>(record + RecordShape::kHeadBytes) + column;
    }
  }
  atomicMax(params.fault, static_cast<unsigned>(kSoftpackInvalidArgument));
  return nullptr;
}

__global__ void __launch_bounds__(kThreads) LatentKernel(LatentParams params) {
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= params.chunk.count) return;
  const TransformTables& tables = params.tables;
  const uint32_t components = tables.record.components;
  const bool walks = tables.trellis.next != 0;
  const int16_t* const indices = IndicesOf(
      params, params.chunk.list == nullptr ? params.chunk.first + i : params.chunk.list[i]);
  const Prediction prediction = PredictionOf(params, i);
  float* const out = params.latents + i * components;
  uint32_t state = 0;
  bool fits = true;
  for (uint32_t j = 0; j < components; ++j) {
    const int32_t index =
        indices == nullptr ? 0 : indices[static_cast<uint64_t>(j) << tables.record.block_bits];
    const int32_t sign = (index > 0) - (index < 0);
    const int32_t context = static_cast<int32_t>(ContextOf(tables.trellis, state));
    const int32_t multiple = walks ? 2 * index - sign * context : index;
    state = NextState(tables.trellis, state, index);
    const float moved = static_cast<float>(multiple) - static_cast<float>(sign) * tables.shifts[j];
    float value = static_cast<float>(moved * tables.unit);
    if (prediction.a != nullptr) {
      const double a = prediction.a[j], b = prediction.b[j];
      const double both = prediction.weight * a + (1 - prediction.weight) * b;
      value = static_cast<float>(value + both);
    }
    // Also for NaN.
    fits = fits && fabsf(value) <= tables.largest;
    out[j] = value;
  }
  if (!fits) atomicMax(params.fault, static_cast<unsigned>(kSoftpackNotFinite));
}

}  // namespace

void RunTransformLatents(Operation& operation, const TransformTables& tables,
                         const TransformChunk& chunk, float* latents) {
  operation.Run("finding latents", LatentKernel,
                {static_cast<unsigned>((chunk.count + kThreads - 1) / kThreads), kThreads},
                {tables, chunk, latents, operation.fault()});
}

}  // namespace softpack
