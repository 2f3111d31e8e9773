// Segments that version 2 of encoding leaves undecided: their projection by float32 chains in the
// CPU's order, and the exact search.
//
// Counted cost: a block takes 32 labels of one segment, and 32 of its columns at a time, a lane a
// label and a warp eight columns: per class 8 multiply-adds for one word and two runs of four words
// from shared memory. So a segment costs its columns rounded up to 32, times the classes: at width
// 20, 1.6 times its share of the whole projection, at three quarters of its speed. Memory: 128
// bytes of columns per class for 32 labels, and each label once per segment, from L2. The search
// is nearest.cu's. Blocks beyond a segment's list end at once.
#include "cuda/layout.h"
#include "cuda/split_project.h"

namespace softpack {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks =
    8;  // of a multiprocessor: for 12.0 the compiler spills where it may have more
constexpr int kLabels = 32;   // of a block, one a lane
constexpr int kColumns = 32;  // at a time
constexpr int kDepth = 32;    // classes at a time
constexpr int kWarpColumns = kColumns / (kThreads / 32);
constexpr int kPitch = kLabels + 1;
constexpr size_t kSharedBytes = (kDepth * kColumns + kDepth * kPitch + 1) * sizeof(float);

struct ExactParams {
  const float* labels;      // [count, classes]
  const float* projection;  // [classes, latent]
  uint64_t classes;
  uint64_t latent;
  uint64_t width;
  Undecided undecided;
  float* vectors;  // [*found, width]
  uint32_t* rows;  // their segments of all
  uint32_t* found;
};

__global__ void __launch_bounds__(kThreads, kBlocks) ExactSegmentsKernel(ExactParams params) {
  const uint32_t segment = blockIdx.x, first = blockIdx.y * kLabels;
  const uint32_t listed = params.undecided.counts[segment];
  if (first >= listed) return;
  float* const columns = SharedMemory<float>();       // [kDepth, kColumns]
  float* const values = columns + kDepth * kColumns;  // [kDepth, kPitch]
  auto* const place = reinterpret_cast<uint32_t*>(values + kDepth * kPitch);
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t here = listed - first < kLabels ? listed - first : kLabels;
  const uint32_t* const labels =
      params.undecided.labels + uint64_t{segment} * params.undecided.capacity + first;
  if (threadIdx.x == 0) *place = atomicAdd(params.found, here);
  __syncthreads();
  const uint64_t to = uint64_t{*place} + lane;
  if (warp == 0 && lane < here) {
    params.rows[to] = labels[lane] * params.undecided.segments + segment;
  }

  for (uint64_t column = 0; column < params.width; column += kColumns) {
    const float* const from = params.projection + segment * params.width + column;
    const bool inside = column + lane < params.width;
    float sums[kWarpColumns] = {};
    for (uint64_t k = 0; k < params.classes; k += kDepth) {
      const uint64_t left = params.classes - k;
      __syncthreads();  // the slice before is no longer read
#pragma unroll
      for (uint32_t r = warp; r < kDepth; r += kThreads / 32) {
        columns[r * kColumns + lane] =
            inside && r < left ? from[(k + r) * params.latent + lane] : 0.0f;
        values[lane * kPitch + r] =
            r < here && lane < left ? params.labels[labels[r] * params.classes + k + lane] : 0.0f;
      }
      __syncthreads();
      // No padding with zeros: 0 * 0 added to -0 gives +0, which the CPU would not.
      const uint32_t depth = left < kDepth ? static_cast<uint32_t>(left) : kDepth;
#pragma unroll 4
      for (uint32_t d = 0; d < depth; ++d) {
        const float value = values[d * kPitch + lane];
        float factors[kWarpColumns];
#pragma unroll
        for (int j = 0; j < kWarpColumns; j += 4) {
          *reinterpret_cast<float4*>(factors + j) =
              *reinterpret_cast<const float4*>(columns + d * kColumns + warp * kWarpColumns + j);
        }
#pragma unroll
        for (int j = 0; j < kWarpColumns; ++j) sums[j] = fmaf(value, factors[j], sums[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kWarpColumns; ++j) {
      const uint64_t at = column + warp * kWarpColumns + j;
      if (lane < here && at < params.width) params.vectors[to * params.width + at] = sums[j];
    }
  }
}

// The working memory: counts of all segments and of what was projected, then lists.
struct Work {
  uint32_t* counts;  // [segments], then `found`
  uint32_t* labels;  // [segments, count]
  uint32_t* rows;    // [count * segments]
  float* vectors;    // [count * segments, width]
};
Work LayOutWork(const SplitShape& shape, uint64_t count, void* memory) {
  const uint64_t segments = shape.segments();
  Work work = {};
  work.counts = static_cast<uint32_t*>(memory);
  work.labels = work.counts + segments + 1;
  work.rows = work.labels + segments * count;
  work.vectors = reinterpret_cast<float*>(work.rows + segments * count);
  return work;
}

}  // namespace

uint64_t ExactWorkBytes(const SplitShape& shape, uint64_t count) {
  return (shape.segments() * (1 + 2 * count) + 1 + count * shape.latent) * sizeof(uint32_t);
}

Undecided StartUndecided(Operation& operation, const SplitShape& shape, uint64_t count,
                         void* work) {
  const Work at = LayOutWork(shape, count, work);
  operation.Clear(at.counts, 0, (shape.segments() + 1) * sizeof(uint32_t));
  return {at.counts, at.labels, static_cast<uint32_t>(shape.segments()),
          static_cast<uint32_t>(count)};
}

void RunExactSegments(Operation& operation, const SplitShape& shape, const float* labels,
                      uint64_t count, const float* projection, const NearestParams& search,
                      void* work) {
  if (!operation.ok() || count == 0) return;
  const Work at = LayOutWork(shape, count, work);
  const unsigned segments = static_cast<unsigned>(shape.segments());
  uint32_t* const found = at.counts + segments;
  operation.Run(
      "projecting what is undecided", ExactSegmentsKernel,
      {{segments, static_cast<unsigned>((count + kLabels - 1) / kLabels)}, kThreads, kSharedBytes},
      {labels, projection, shape.classes, shape.latent, shape.width, search.undecided, at.vectors,
       at.rows, found});
  NearestParams rest = search;
  rest.vectors = at.vectors;
  rest.list = at.rows;
  rest.list_count = found;
  rest.off = nullptr;
  RunNearest(operation, rest);
}

}  // namespace softpack
