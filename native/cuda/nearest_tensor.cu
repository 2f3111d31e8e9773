// The nearest codeword on tensor cores, with the indices of nearest.cu: products of bfloat16 parts
// select eight codewords that can be nearest, float32 in the order of nearest.cu decides among
// them, and if the selection is uncertain, nearest.cu processes the whole vector again.
//
// The bound. A score is s = |c|^2 / 2 - h.c, a chain of float32 operations in nearest.cu. Here h
// and -c are each the sum of two bfloat16 (x = x1 + x2 + r, |x2| <= 2^-8 |x|, |r| <= 2^-16 |x|),
// and one product of three times the width takes h1 c1 + h1 c2 + h2 c1. It starts from the same
// |c|^2 / 2 and leaves out h2 c2 and both r: at most (|h2| q + |rh| + (|h| + |rh|) p) |c|, where
// q and p are the greatest |c2| / |c| and |rc| / |c| of the codebook; lengths of a vector's parts
// are measured, for they are a fifth of the most that they can be. Tensor cores multiply exactly
// and add with at least single precision (PTX ISA, mma); with every term of the 17 of an addition
// truncated to 2^-22 of the greatest, twice what that allows, an instruction errs by 17 * 2^-22
// (|c|^2 / 2 + |h| |c|), which bounds every partial sum. certainty.h says what follows from such an
// error.
//
// A thread keeps the least score of its eight codewords of 32, the least of these blocks, and the
// least of the others. If the two are far enough apart, every codeword of another block scores
// more in float32 as well; the eight left are scored as in nearest.cu, and ties among them go to
// the lowest index. All others are copied to a list. Of 100 segments of 256 of the bench's labels
// at temperature 20, in emulation: 18 at width 5, 3.5 at 15, 1.8 at 20 and 1.4 at 25; where the
// bound took the codebook's longest codeword, 88, 59, 34 and 24.
//
// Counted cost per distance, in cycles of a multiprocessor of an H100, at width 5 / 15 / 20 / 25
// (steps 1 / 3 / 4 / 5): 16 * steps products, 0.013 / 0.038 / 0.05 / 0.063 at the 1280 per cycle
// that mma.sync is estimated to reach, words from shared memory 0.6 of that in parallel; minima and
// bookkeeping, 2.5 instructions at 64 lanes per cycle, 0.04. nearest.cu: 0.09 / 0.16 / 0.2 / 0.24.
// Finishing a vector reads eight codewords and the vector from L1, 1.6 cycles per element, and its
// parts' lengths are 3 instructions of a lane per element. L2: a
// codeword's parts, 32 * steps bytes, once per 256 vectors, 0.4 of the products' time. In ns per
// label of 1,000 latents, from complete overlap to none, without those on the list: (5, 1024) 36 to
// 53, nearest.cu 76; (15, 2048) 23 to 52 and 96; (20, 1024) 11 to 27 and 45; (25, 512) 7 to 16
// and 21. wgmma would take 0.6 of the products' time and read operands without loads by words. At
// width 50 and 100 distances are a tenth of encoding, and are left to nearest.cu.
#include <algorithm>

#include "core/nearest_bound.h"
#include "cuda/bfloat_parts.h"
#include "cuda/certainty.h"
#include "cuda/layout.h"
#include "cuda/nearest.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

constexpr int kBfloatCapability = 80;
constexpr int kThreads = 256;
constexpr int kWarpRows = 32;  // vectors a warp
constexpr int kBlockRows = kThreads / 32 * kWarpRows;
constexpr int kTileLevels = 128;  // codewords in shared memory at a time
constexpr int kGroupLevels = 32;  // a warp multiplies at a time, eight a thread
constexpr int kRowTiles = kWarpRows / 16;
constexpr int kColumnTiles = kGroupLevels / 8;
constexpr int kThreadRows = 2 * kRowTiles;
constexpr uint64_t kMostSteps = 6;
constexpr uint64_t kLeastLevels = 256;

uint64_t StepsOf(uint64_t width) { return (3 * width + 15) / 16; }

// Result of PrepareTensorNearest, in one array.
struct Prepared {
  float* starts;       // [padded], half norms, then infinity
  float* across;       // [width, padded], the codebook
  uint32_t* greatest;  // bits of the greatest half norm, or of a NaN; then of q and of p
  uint16_t* parts;     // [padded, 16 * steps], of -c: high, low, high, zeros
  uint64_t padded;     // levels
};

Prepared Layout(uint64_t width, uint64_t levels, void* array) {
  Prepared prepared = {};
  prepared.padded = RoundUpTo(levels, kTileLevels);
  prepared.starts = static_cast<float*>(array);
  prepared.across = prepared.starts + prepared.padded;
  prepared.greatest = reinterpret_cast<uint32_t*>(prepared.across + width * prepared.padded);
  prepared.parts = reinterpret_cast<uint16_t*>(prepared.greatest + 4);
  return prepared;
}

struct PrepareParams {
  const float* codebook;
  const float* half_norms;
  Prepared to;
  uint64_t width;
  uint64_t levels;
  uint64_t inner;
};

// One block per codeword.
__global__ void PrepareKernel(PrepareParams params) {
  const uint64_t level = blockIdx.x, width = params.width;
  const bool inside = level < params.levels;
  const float* const codeword = params.codebook + level * width;
  for (uint64_t e = threadIdx.x; e < params.inner; e += blockDim.x) {
    const uint64_t part = e / width;
    uint32_t bits = 0;
    if (inside && part < 3) {
      const BfloatParts parts = PartsOf(-codeword[e % width]);
      bits = part == 1 ? parts.low : parts.high;
    }
    params.to.parts[level * params.inner + e] = static_cast<uint16_t>(bits);
  }
  for (uint64_t d = threadIdx.x; d < width; d += blockDim.x) {
    params.to.across[d * params.to.padded + level] = inside ? codeword[d] : 0.0f;
  }
  if (threadIdx.x != 0) return;
  params.to.starts[level] = inside ? params.half_norms[level] : Infinity();
  if (!inside) return;
  PartSquares<float> squares = {};
  for (uint64_t d = 0; d < width; ++d) squares.Add(codeword[d], PartsOf(codeword[d]));
  // Squares of short codewords may underflow: the most that parts can be.
  const bool measured = squares.whole > 0x1p-60f;
  const float low = measured ? sqrtf(squares.low / squares.whole) : 0x1p-8f,
              rest = measured ? sqrtf(squares.rest / squares.whole) : 0x1p-16f;
  atomicMax(params.to.greatest, __float_as_uint(params.half_norms[level]));
  atomicMax(params.to.greatest + 1, __float_as_uint(low));
  atomicMax(params.to.greatest + 2, __float_as_uint(rest));
}

struct TensorParams {
  NearestParams nearest;
  Prepared prepared;
  float sums;      // that tensor cores round, of |c|^2 / 2 + |h| |c|
  float rounding;  // r of certainty.h
  float* vectors;  // of the list, [count, width]
  uint32_t* list;
  uint32_t* list_count;
};

// The least of blocks of codewords: its score, the block, and the least score of all other blocks.
struct Blocks {
  float best;
  float second;
  uint32_t block;
};
__device__ inline void Merge(Blocks& blocks, unsigned lanes) {
  const float best = __shfl_xor_sync(0xffffffffu, blocks.best, lanes);
  const float second = __shfl_xor_sync(0xffffffffu, blocks.second, lanes);
  const uint32_t block = __shfl_xor_sync(0xffffffffu, blocks.block, lanes);
  blocks.second = fminf(fminf(blocks.second, second), fmaxf(blocks.best, best));
  if (IsBetter({best, block}, {blocks.best, blocks.block})) {
    blocks.best = best;
    blocks.block = block;
  }
}

template <int kSteps>
struct Tile {
  static constexpr int kInner = 16 * kSteps;
  // 8 rows by 4 words of a fragment meet 32 banks: rows are 4 words, times an odd number, apart.
  static constexpr int kPitch = kInner + 8;
  static constexpr int kStartBytes = kTileLevels * 4;
  static constexpr int kBytes = kStartBytes + kTileLevels * kPitch * 2;
};

template <int kSteps>
__device__ inline void StartTile(const Prepared& prepared, uint64_t first, unsigned char* tile) {
  using T = Tile<kSteps>;
  const int thread = static_cast<int>(threadIdx.x);
  auto* const starts = reinterpret_cast<float*>(tile);
  auto* const parts = reinterpret_cast<uint16_t*>(tile + T::kStartBytes);
  if (thread < kTileLevels / 4) {
    CopyAsync16(starts + 4 * thread, prepared.starts + first + 4 * thread);
  }
#pragma unroll
  for (int i = 0; i < kTileLevels * T::kInner / 8 / kThreads; ++i) {
    const int piece = thread + i * kThreads;
    const int row = piece / (T::kInner / 8), at = piece % (T::kInner / 8) * 8;
    CopyAsync16(parts + row * T::kPitch + at, prepared.parts + (first + row) * T::kInner + at);
  }
}

// This thread's part of 16 vectors from `first` on: high, high, low, zeros.
template <int kSteps>
__device__ inline void ReadVectors(const NearestParams& params, uint64_t first,
                                   FragmentA (&a)[kSteps]) {
  const uint32_t width = static_cast<uint32_t>(params.width);
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const FragmentPlace place = PlaceInA(static_cast<int>(threadIdx.x % 32), n);
      const uint64_t row = first + place.row;
      uint32_t word = 0;
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t e = 16 * s + place.column + half;
        const uint32_t part = e / width;
        if (row >= params.count || part > 2) continue;
        const BfloatParts parts = PartsOf(params.vectors[row * width + e % width]);
        word |= (part == 2 ? parts.low : parts.high) << 16 * half;
      }
      a[s].words[n] = word;
    }
  }
}

// Scores the 32 codewords from `group` on against all vectors of a warp; keeps the least of this
// thread's eight.
template <int kSteps>
__device__ __forceinline__ void ScoreGroup(const unsigned char* tile, int group,
                                           const FragmentA (&a)[kRowTiles][kSteps],
                                           float (&least)[kThreadRows]) {
  using T = Tile<kSteps>;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const auto* const starts = reinterpret_cast<const float*>(tile) + group;
  const auto* const parts = reinterpret_cast<const uint16_t*>(tile + T::kStartBytes);
  float scores[kRowTiles][kColumnTiles][4];
#pragma unroll
  for (int j = 0; j < kColumnTiles; ++j) {
    const float2 start =
        *reinterpret_cast<const float2*>(starts + 8 * j + PlaceInSums(lane, 0).column);
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      scores[i][j][0] = scores[i][j][2] = start.x;
      scores[i][j][1] = scores[i][j][3] = start.y;
    }
  }
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      FragmentB b;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const FragmentPlace place = PlaceInB(lane, n);
        b.words[n] = *reinterpret_cast<const uint32_t*>(
            parts + (group + 8 * j + place.column) * T::kPitch + 16 * s + place.row);
      }
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) MultiplyFragments(a[i][s], b, scores[i][j]);
    }
  }
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    least[r] = Infinity();
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      const float* const pair = scores[r / 2][j] + r % 2 * 2;
      least[r] = fminf(least[r], fminf(pair[0], pair[1]));
    }
  }
}

// Combines the results of four threads for one vector into its index, or adds it to a list.
template <bool kOff>
__device__ inline void Finish(const TensorParams& params, uint64_t row, Blocks blocks) {
  const NearestParams& nearest = params.nearest;
  const uint32_t lane = threadIdx.x % 4;
  const float* const vector = nearest.vectors + row * nearest.width;
  const bool inside = row < nearest.count;
  Merge(blocks, 1);
  Merge(blocks, 2);

  PartSquares<float> squares = {};
  for (uint64_t d = lane; inside && d < nearest.width; d += 4) {
    squares.Add(vector[d], PartsOf(vector[d]));
  }
  AddLanes<4>(squares);
  const uint32_t* const greatest = params.prepared.greatest;
  const float low = __uint_as_float(greatest[1]), rest = __uint_as_float(greatest[2]);
  // Relative to |h|, of which IsCertain refuses what makes this overflow.
  const float omitted =
      low * sqrtf(squares.low / squares.whole) + rest + 1.01f * sqrtf(squares.rest / squares.whole);

  // Eight codewords, two per thread.
  const uint64_t level =
      static_cast<uint64_t>(blocks.block) / 4 * kGroupLevels + lane * 8 + blocks.block % 4 * 2;
  float2 score = *reinterpret_cast<const float2*>(params.prepared.starts + level);
  for (uint64_t d = 0; inside && d < nearest.width; ++d) {
    const float2 codeword = *reinterpret_cast<const float2*>(params.prepared.across +
                                                             d * params.prepared.padded + level);
    const float factor = -vector[d];
    score.x = fmaf(factor, codeword.x, score.x);
    score.y = fmaf(factor, codeword.y, score.y);
  }
  const auto at = static_cast<uint32_t>(level);
  Margin eight = {{score.x, at}, Infinity()};
  eight.Add({score.y, at + 1});
  eight.MergeLanes(1);
  eight.MergeLanes(2);
  if (!inside || lane != 0) return;
  const float half_norm = __uint_as_float(greatest[0]);
  const ScoreErrors errors = {omitted, params.sums, params.rounding,
                              1.001f * sqrtf(2.0f * half_norm + 0x1p-120f)};
  // Beyond, scores and parts may overflow.
  const bool bounded = half_norm < 0x1p100f;
  float bar = blocks.second, off = 0.0f;
  if constexpr (kOff) {
    // The vector that the CPU has may be nearer to another of the eight.
    bar = fminf(bar, eight.second);
    off = nearest.off[row];
  }
  if (bounded && IsCertain(squares.whole, eight.best.score, bar, off, errors)) {
    nearest.out[row] = static_cast<uint16_t>(eight.best.index);
    return;
  }
  if constexpr (kOff) {
    nearest.undecided.Add(row);
    return;
  }
  const uint64_t place = atomicAdd(params.list_count, 1u);
  params.list[place] = static_cast<uint32_t>(row);
  for (uint64_t d = 0; d < nearest.width; ++d) {
    params.vectors[place * nearest.width + d] = vector[d];
  }
}

// Blocks that a multiprocessor has registers for: a thread holds `steps` fragments of its vectors.
// The compiler needs a few registers more but for A100 and H100.
constexpr int LeastBlocks(int steps) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ != 800 && __CUDA_ARCH__ != 900
  constexpr int kTwo = 4;  // steps up to which there are two
#else
  constexpr int kTwo = 5;
#endif
  return steps == 1 ? 3 : steps <= kTwo ? 2 : 1;
}

template <int kSteps, bool kOff>
__global__ void __launch_bounds__(kThreads, LeastBlocks(kSteps))
    TensorNearestKernel(TensorParams params) {
  unsigned char* const shared = SharedMemory<unsigned char>();
  const uint64_t first_row =
      static_cast<uint64_t>(blockIdx.x) * kBlockRows + threadIdx.x / 32 * kWarpRows;
  FragmentA a[kRowTiles][kSteps];
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) ReadVectors(params.nearest, first_row + 16 * i, a[i]);
  Blocks blocks[kThreadRows];
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) blocks[r] = {Infinity(), Infinity(), 0};

  const uint32_t tiles = static_cast<uint32_t>(params.prepared.padded / kTileLevels);
  StartTile<kSteps>(params.prepared, 0, shared);
  CommitCopies();
  for (uint32_t t = 0; t < tiles; ++t) {
    WaitForCopies<0>();
    // This tile has arrived for all threads, and the previous one is no longer read.
    __syncthreads();
    if (t + 1 < tiles) {
      StartTile<kSteps>(params.prepared, static_cast<uint64_t>(t + 1) * kTileLevels,
                        shared + (t + 1) % 2 * Tile<kSteps>::kBytes);
    }
    CommitCopies();
#pragma unroll 1
    for (uint32_t group = 0; group < kTileLevels / kGroupLevels; ++group) {
      float least[kThreadRows];
      ScoreGroup<kSteps>(shared + t % 2 * Tile<kSteps>::kBytes,
                         static_cast<int>(group) * kGroupLevels, a, least);
      const uint32_t block = (t * (kTileLevels / kGroupLevels) + group) * 4 + threadIdx.x % 4;
#pragma unroll
      for (int r = 0; r < kThreadRows; ++r) {
        blocks[r].second = fminf(blocks[r].second, fmaxf(blocks[r].best, least[r]));
        if (least[r] < blocks[r].best) {
          blocks[r].best = least[r];
          blocks[r].block = block;
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    const int in_tile = PlaceInSums(static_cast<int>(threadIdx.x % 32), r % 2 * 2).row;
    Finish<kOff>(params, first_row + r / 2 * 16 + in_tile, blocks[r]);
  }
}

template <int kSteps>
void Run(Operation& operation, const TensorParams& params) {
  const unsigned blocks =
      static_cast<unsigned>((params.nearest.count + kBlockRows - 1) / kBlockRows);
  operation.Run("looking for the nearest codewords on tensor cores",
                params.nearest.off == nullptr ? TensorNearestKernel<kSteps, false>
                                              : TensorNearestKernel<kSteps, true>,
                {blocks, kThreads, 2 * Tile<kSteps>::kBytes}, params);
}

}  // namespace

bool TensorNearestFits(uint64_t width, uint64_t levels) {
  return Facts().instructions >= kBfloatCapability && levels >= kLeastLevels &&
         StepsOf(width) <= kMostSteps;
}

uint64_t TensorNearestBytes(uint64_t width, uint64_t levels) {
  const uint64_t padded = RoundUpTo(levels, kTileLevels);
  return padded * (1 + width) * sizeof(float) + 16 +
         padded * 16 * StepsOf(width) * sizeof(uint16_t);
}

void PrepareTensorNearest(Operation& operation, const NearestParams& params, void* prepared) {
  if (!operation.ok()) return;
  const Prepared to = Layout(params.width, params.levels, prepared);
  constexpr unsigned kPrepareThreads = 64;
  operation.Clear(to.greatest, 0, 3 * sizeof(uint32_t));
  operation.Run("splitting codewords", PrepareKernel,
                {static_cast<unsigned>(to.padded), kPrepareThreads},
                {params.codebook, params.half_norms, to, params.width, params.levels,
                 16 * StepsOf(params.width)});
}

uint64_t TensorNearestWorkBytes(uint64_t count, uint64_t width) {
  return (count * (width + 1) + 1) * sizeof(uint32_t);
}

void RunTensorNearest(Operation& operation, const NearestParams& params, void* prepared,
                      void* work) {
  if (!operation.ok() || params.count == 0) return;
  const uint64_t steps = StepsOf(params.width);
  TensorParams tensor = {};
  tensor.nearest = params;
  tensor.prepared = Layout(params.width, params.levels, prepared);
  tensor.sums = 17 * 0x1p-22f * static_cast<float>(steps);
  tensor.rounding = static_cast<float>(kScoreRounding) * static_cast<float>(params.width + 2);
  if (params.off == nullptr) {
    tensor.vectors = static_cast<float*>(work);
    tensor.list = reinterpret_cast<uint32_t*>(tensor.vectors + params.count * params.width);
    tensor.list_count = tensor.list + params.count;
    operation.Clear(tensor.list_count, 0, sizeof(uint32_t));
  }
  switch (steps) {
    case 1:
      Run<1>(operation, tensor);
      break;
    case 2:
      Run<2>(operation, tensor);
      break;
    case 3:
      Run<3>(operation, tensor);
      break;
    case 4:
      Run<4>(operation, tensor);
      break;
    case 5:
      Run<5>(operation, tensor);
      break;
    default:
      Run<6>(operation, tensor);
  }
  if (params.off != nullptr) return;
  NearestParams rest = params;
  rest.vectors = tensor.vectors;
  rest.list = tensor.list;
  rest.list_count = tensor.list_count;
  RunNearest(operation, rest);
}

}  // namespace softpack
