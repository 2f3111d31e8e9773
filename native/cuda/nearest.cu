// The nearest codeword, streaming: a block keeps 128 vectors and walks the codebook 128 codewords
// at a time; distances live in registers only, and so do the best ones so far.
//
// Counted cost: count * levels * width multiply-adds and count * levels comparisons, which take 3
// instructions each (compare, two selects) and so weigh as much as 3 elements of width. Global
// memory: the vectors are read once per 128 codewords, from L1 or L2 after the first time (128 *
// width * 4 bytes), the codebook once per 128 vectors; 2 bytes per vector are written. Writing the
// distances instead would move 4 * levels bytes per vector.
#include "cuda/nearest.h"

#include <algorithm>

#include "core/nearest_bound.h"
#include "cuda/certainty.h"
#include "cuda/gemm_tile.h"

namespace softpack {
namespace {

struct HalfNormParams {
  const float* codebook;
  float* half_norms;
  uint64_t levels;
  uint64_t width;
};

__global__ void HalfNormKernel(HalfNormParams params) {
  const uint64_t level = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (level >= params.levels) return;
  const float* const codeword = params.codebook + level * params.width;
  float norm = 0.0f;
  for (uint64_t d = 0; d < params.width; ++d) norm = fmaf(codeword[d], codeword[d], norm);
  params.half_norms[level] = 0.5f * norm;
}

// Writes the index of a vector of which the CPU's is within `off`, or leaves it undecided.
__device__ inline void Decide(const NearestParams& params, uint64_t row, const Margin& margin) {
  const float* const vector = params.vectors + row * params.width;
  float square = 0.0f;
  for (uint64_t d = 0; d < params.width; ++d) square = fmaf(vector[d], vector[d], square);
  const float rounding = static_cast<float>(kScoreRounding) * static_cast<float>(params.width + 2);
  if (IsCertain(square, margin.best.score, margin.second, params.off[row],
                {0.0f, 0.0f, rounding, Infinity()})) {
    params.out[row] = static_cast<uint16_t>(margin.best.index);
  } else {
    params.undecided.Add(row);
  }
}

// kOff: `off` is given.
template <bool kOff>
__global__ void __launch_bounds__(kTileThreads) NearestKernel(NearestParams params) {
  const uint64_t first_vector = static_cast<uint64_t>(blockIdx.x) * kTile;
  const uint64_t count = params.list == nullptr ? params.count : *params.list_count;
  if (first_vector >= count) return;
  const int row_part = static_cast<int>(threadIdx.x) / 16;
  const int column_part = static_cast<int>(threadIdx.x) % 16;
  const TileOperand vectors = {params.vectors, params.width, 1, count};
  const TileOperand codebook = {params.codebook, params.width, 1, params.levels};
  Margin margins[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) margins[i] = {{Infinity(), 0}, Infinity()};

  for (uint64_t first = 0; first < params.levels; first += kTile) {
    float scores[8][8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint64_t level = first + TileElement(column_part, j);
      const float start = level < params.levels ? params.half_norms[level] : Infinity();
#pragma unroll
      for (int i = 0; i < 8; ++i) scores[i][j] = start;
    }
    MultiplyTile<true, true, true>(vectors, first_vector, codebook, first, params.width, scores);
    __syncthreads();  // the next tile writes where this one was read
    // Ascending levels and a strict comparison: the lowest index of equal scores stays.
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint32_t level = static_cast<uint32_t>(first) + TileElement(column_part, j);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        Margin& margin = margins[i];
        if constexpr (kOff) {
          margin.second = fminf(margin.second, fmaxf(margin.best.score, scores[i][j]));
        }
        if (scores[i][j] < margin.best.score) margin.best = {scores[i][j], level};
      }
    }
  }

  // The 16 threads of a row are adjacent in a warp.
  Margin mine = margins[0];  // of the vector that this thread decides
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      if constexpr (kOff) {
        margins[i].MergeLanes(lanes);
      } else {
        const Candidate other = FromLane(margins[i].best, lanes);
        if (IsBetter(other, margins[i].best)) margins[i].best = other;
      }
    }
    if (column_part == i) mine = margins[i];
  }
  const uint64_t vector = first_vector + TileElement(row_part, column_part % 8);
  if (column_part >= 8 || vector >= count) return;
  if constexpr (kOff) {
    Decide(params, vector, mine);
  } else {
    params.out[params.list == nullptr ? vector : params.list[vector]] =
        static_cast<uint16_t>(mine.best.index);
  }
}

constexpr uint64_t kChunkBytes = 64 << 20;

}  // namespace

void RunHalfNorms(Operation& operation, const float* codebook, uint64_t levels, uint64_t width,
                  float* half_norms) {
  constexpr unsigned kThreads = 128;
  const unsigned blocks = static_cast<unsigned>((levels + kThreads - 1) / kThreads);
  operation.Run("measuring codewords", HalfNormKernel, {blocks, kThreads},
                {codebook, half_norms, levels, width});
}

void RunNearest(Operation& operation, const NearestParams& params) {
  if (params.count == 0) return;
  const unsigned blocks = static_cast<unsigned>((params.count + kTile - 1) / kTile);
  operation.Run("looking for the nearest codewords",
                params.off == nullptr ? NearestKernel<false> : NearestKernel<true>,
                {blocks, kTileThreads, kTileSharedBytes}, params);
}

int Nearest(const SoftpackNearestArgs* args) {
  Operation operation(args->threads);
  NearestParams params = {};
  params.width = args->width;
  params.levels = args->levels;
  params.codebook = operation.Input(args->codebook, args->levels * args->width);
  float* const half_norms = operation.Take<float>(args->levels);
  RunHalfNorms(operation, params.codebook, args->levels, args->width, half_norms);
  params.half_norms = half_norms;
  const bool tensor = operation.ok() && TensorNearestFits(args->width, args->levels);
  char* const prepared =
      tensor ? operation.Take<char>(TensorNearestBytes(args->width, args->levels)) : nullptr;
  if (tensor) PrepareTensorNearest(operation, params, prepared);

  const bool vectors_here = operation.OnDevice(args->vectors);
  const bool out_here = operation.OnDevice(args->out);
  const bool whole = vectors_here && out_here && !tensor;
  const uint64_t chunk =
      whole ? args->count
            : std::min(args->count, std::max<uint64_t>(kChunkBytes / (4 * args->width), 1));
  float* const vectors = vectors_here ? nullptr : operation.Take<float>(chunk * args->width);
  uint16_t* const out = out_here ? nullptr : operation.Take<uint16_t>(chunk);
  char* const work =
      tensor ? operation.Take<char>(TensorNearestWorkBytes(chunk, args->width)) : nullptr;
  for (uint64_t first = 0; operation.ok() && first < args->count; first += chunk) {
    params.count = std::min(chunk, args->count - first);
    params.vectors = args->vectors + first * args->width;
    params.out = args->out + first;
    if (!vectors_here) {
      operation.CopyIn(vectors, params.vectors, params.count * args->width * sizeof(float));
      params.vectors = vectors;
    }
    if (!out_here) params.out = out;
    if (tensor)
      RunTensorNearest(operation, params, prepared, work);
    else
      RunNearest(operation, params);
    if (!out_here) operation.CopyOut(args->out + first, out, params.count * sizeof(uint16_t));
  }
  return operation.Finish();
}

}  // namespace softpack
