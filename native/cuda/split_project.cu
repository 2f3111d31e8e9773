// Labels times the encoder's matrix on tensor cores, each factor the sum of two bfloat16, and a
// proven bound per segment of how far the float32 chain of project.cu may be from it.
//
// Labels at high temperatures are nearly uniform: at 20, |y| = 0.032 and |y - 1/c| = 0.0054 for
// 1,000 classes. So d = y - m is multiplied, m = 1/c, and m times the sum of the matrix's rows,
// made in float64, is added at the end; any other m would be as right.
//
// The bound, for one column E_i of the matrix, u = 2^-24. Let d = d1 + d2 + r in bfloat16 parts and
// a rest (with what rounding y - m took), E_i likewise. The product d1 E1 + d1 E2 + d2 E1 leaves
// out
//   |d2| |E2_i| + |r| |E_i| + |d| |Er_i|,
// lengths that are measured. Tensor cores round as nearest_tensor.cu assumes: each of 17 terms to
// 2^-22 of the greatest. Sums start from zero every 32 classes, products of low parts first, so
// that nothing in slice b exceeds |d_b| |E_b|: 2.2 * 17 * 2^-22 of that, for two instructions and
// what four of low parts add; over all slices, by Cauchy, the same of |d| |E_i|. Slices are added
// up in float32: u times the sums p_b so far. The float32 chain of the CPU rounds u times each of
// its partial sums s_k, which are at most those of m alone, and p_b plus |d_b| |E_b| within slice
// b: in all u (A_i + 32 P_i + 32 |d| |E_i|) with A_i = sum over k of |m (E_1i + .. + E_ki)|, and
// P_i = sum over b of |p_b|, which the kernel adds up beside the sums. A bound of partial sums by
// lengths alone would be 30 times as large. Two more A_i's last terms and P_i pay for the addition
// of m's part and of slices. A segment's columns: the length of each, so that off = |d2| |E2| + |r|
// |E| + |d| |Er| + (2.2 * 17 * 2^-22 + 32 u) |d| |E| + u A + 34 u P with lengths over all elements
// of the segment; 1.02 times, for errors of errors (classes * u <= 2^-8 of them) and its own
// arithmetic, plus 2^-90 for whatever underflows. Lengths are floored at 2^-60. Anything that is no
// number makes `off` so, and the segment undecided.
//
// Of the bench's labels at temperature 20, |off| / |h| is 2e-3 at width 5, 6e-4 at 20 and 2e-4 at
// 100, about a third from each of: what the product leaves out, tensor cores, and the CPU's chain.
// Undecided are, of 100 segments of 256 of these labels, in emulation: 7.3 at width 15, 4.5 at
// 20, 3.6 at 25, 1.3 at 50, 0.6 at 100; with the CPU's own latents 3.5, 1.8 and 1.4 at the first
// three. At width 5 they would be 37 (simulated).
//
// Counted cost per label at (classes, latent) = (1000, 1000), padded to 1024 each: 6.3 MFLOP, 12 ns
// at two thirds of the 790 TFLOP/s of an H100, where project.cu takes 40; a tile of 128 by 128
// reads 4 * 128 * 1024 * 2 bytes, 64 kB per label in all, 11.6 ns at 5.5 TB/s of L2, at the same
// time. The compiler makes 292 instructions of a warp's slice (9.0): 96 products, 24 LDSM, 128
// additions; two warps share a scheduler and issue 584 in the 1,250 cycles of their products.
// Splitting reads 4 kB and writes 4, 2 ns; `off` reads 2 kB that the product wrote beside 4 kB of
// vectors, 1 ns.
#include "cuda/split_project.h"

#include "core/nearest_bound.h"
#include "cuda/bfloat_parts.h"
#include "cuda/layout.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

constexpr int kThreads = 256;
constexpr int kTileRows = 128;
constexpr int kSlice = 32;       // classes at a time
constexpr int kSlicePitch = 40;  // elements from row to row: 8 rows of 16 bytes meet 32 banks
constexpr int kOperand = kTileRows * kSlicePitch;
constexpr int kOperands = 4;  // high and low of labels, high and low of the matrix
constexpr int kStages = 2;
constexpr size_t kSharedBytes = size_t{kStages} * kOperands * kOperand * sizeof(uint16_t);
constexpr int kWarpRows = 64, kWarpColumns = 32;
constexpr int kRowTiles = kWarpRows / 16, kColumnTiles = kWarpColumns / 8;
constexpr int kSteps = kSlice / 16;

// Rows of bfloat16 parts, [rows, inner] each, zeros in the padding.
struct Parts {
  uint16_t* high;
  uint64_t apart;  // elements from the high parts to the low ones

  __device__ uint16_t* low() const { return high + apart; }
};

uint64_t InnerOf(const SplitShape& shape) { return RoundUpTo(shape.classes, kSlice); }
uint64_t PairsOf(const SplitShape& shape) { return (shape.latent + 1) / 2; }
float CentreOf(const SplitShape& shape) { return 1.0f / static_cast<float>(shape.classes); }

// Result of PrepareSplitProjection, in one array.
struct Prepared {
  float4* facts;  // [segments]: |E|, |E2|, |Er|, A
  float* centre;  // [latent]: m times the sum of a column
  Parts columns;  // [latent, inner], to whole tiles
};
Prepared LayOut(const SplitShape& shape, void* array) {
  Prepared prepared = {};
  const uint64_t elements = RoundUpTo(shape.latent, kTileRows) * InnerOf(shape);
  prepared.facts = static_cast<float4*>(array);
  prepared.columns = {reinterpret_cast<uint16_t*>(prepared.facts + shape.segments()), elements};
  prepared.centre = reinterpret_cast<float*>(prepared.columns.high + 2 * elements);
  return prepared;
}

struct PrepareParams {
  const float* projection;  // [classes, latent]
  Prepared to;
  uint64_t classes;
  uint64_t latent;
  uint64_t width;
  uint64_t inner;
  float centre;
};
constexpr int kPrepareThreads = 32;

// One block per segment, a thread per column.
__global__ void SplitProjectionKernel(PrepareParams params) {
  PartSquares<double> squares = {};
  double chains = 0;
  for (uint64_t i = threadIdx.x; i < params.width; i += kPrepareThreads) {
    const uint64_t column = blockIdx.x * params.width + i;
    double sum = 0, chain = 0;
    for (uint64_t k = 0; k < params.classes; ++k) {
      const float value = params.projection[k * params.latent + column];
      const BfloatParts parts = PartsOf(value);
      const uint64_t at = column * params.inner + k;
      params.to.columns.high[at] = static_cast<uint16_t>(parts.high);
      params.to.columns.low()[at] = static_cast<uint16_t>(parts.low);
      squares.Add(value, parts);
      sum += static_cast<double>(params.centre) * value;
      chain += fabs(sum);
    }
    params.to.centre[column] = static_cast<float>(sum);
    chain += 2 * fabs(sum);
    chains += chain * chain;
  }
  double* const shared = SharedMemory<double>();
  const double own[4] = {squares.whole, squares.low, squares.rest, chains};
  for (int n = 0; n < 4; ++n) shared[n * kPrepareThreads + threadIdx.x] = own[n];
  __syncthreads();
  if (threadIdx.x != 0) return;
  float lengths[4];
  for (int n = 0; n < 4; ++n) {
    double square = 0;
    for (int i = 0; i < kPrepareThreads; ++i) square += shared[n * kPrepareThreads + i];
    lengths[n] = static_cast<float>(1.0001 * sqrt(square));
  }
  params.to.facts[blockIdx.x] = make_float4(lengths[0], lengths[1], lengths[2], lengths[3]);
}

struct LabelParams {
  const float* labels;  // [count, classes]
  Parts to;             // [grid rows, inner]
  float4* facts;        // [grid rows]: |d|, |d2|, |r|
  uint64_t count;
  uint64_t classes;
  uint64_t inner;
  float centre;
};

// One warp per label, and per row of padding.
__global__ void SplitLabelsKernel(LabelParams params) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t row = static_cast<uint64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  PartSquares<float> squares = {};
  for (uint64_t e = 2 * lane; e < params.inner; e += 64) {
    uint32_t high = 0, low = 0;
#pragma unroll
    for (uint64_t half = 0; half < 2; ++half) {
      if (row >= params.count || e + half >= params.classes) continue;
      const float value = params.labels[row * params.classes + e + half] - params.centre;
      const BfloatParts parts = PartsOf(value);
      squares.Add(value, parts);
      high |= parts.high << 16 * half;
      low |= parts.low << 16 * half;
    }
    const uint64_t word = (row * params.inner + e) / 2;
    reinterpret_cast<uint32_t*>(params.to.high)[word] = high;
    reinterpret_cast<uint32_t*>(params.to.low())[word] = low;
  }
  AddLanes<32>(squares);
  if (lane != 0) return;
  constexpr float kLeastSquare = 0x1p-120f;
  const float length = sqrtf(squares.whole + kLeastSquare);
  const float rounded = static_cast<float>(kChainRounding) * length;  // of y - m
  params.facts[row] = make_float4(length, sqrtf(squares.low + kLeastSquare),
                                  sqrtf(squares.rest + kLeastSquare) + rounded, 0.0f);
}

struct ProductParams {
  Parts labels;
  Parts columns;
  const float* centre;
  float* vectors;  // [rows, latent]
  float* spread;   // [rows, pairs]: P of two columns
  uint64_t rows;
  uint64_t latent;
  uint64_t pairs;  // of columns, the last one's other column beyond `latent` if that is odd
  uint64_t inner;
};

// Copies slices of all four operands to shared memory, one after the other: a thread the same
// pieces of 16 bytes of each.
class SliceReader {
 public:
  __device__ SliceReader(const ProductParams& params, uint64_t first_row, uint64_t first_column)
      : params_(params),
        label_(params.labels.high + (first_row + Row()) * params.inner + Element()),
        column_(params.columns.high + (first_column + Row()) * params.inner + Element()) {}

  __device__ __forceinline__ void Start(uint16_t* shared) {
    uint16_t* to = shared + Row() * kSlicePitch + Element();
    const uint16_t* label = label_;
    const uint16_t* column = column_;
#pragma unroll
    for (int i = 0; i < kTileRows / kRows; ++i) {
      CopyAsync16(to, label);
      CopyAsync16(to + kOperand, label + params_.labels.apart);
      CopyAsync16(to + 2 * kOperand, column);
      CopyAsync16(to + 3 * kOperand, column + params_.columns.apart);
      to += kRows * kSlicePitch;
      label += kRows * params_.inner;
      column += kRows * params_.inner;
    }
    label_ += kSlice;
    column_ += kSlice;
  }

 private:
  static constexpr int kPieces = kSlice / 8;  // of a row
  static constexpr int kRows = kThreads / kPieces;
  static __device__ int Row() { return static_cast<int>(threadIdx.x) / kPieces; }
  static __device__ int Element() { return static_cast<int>(threadIdx.x) % kPieces * 8; }

  const ProductParams& params_;
  const uint16_t* label_;
  const uint16_t* column_;
};

// Adds a slice's products to the sums, and the sums' magnitudes, of two columns, to `spread`.
__device__ __forceinline__ void MultiplySlice(const uint16_t* left, const uint16_t* right,
                                              float (&sums)[kRowTiles][kColumnTiles][4],
                                              float (&spread)[kRowTiles][kColumnTiles][2]) {
  FragmentB high[kSteps][kColumnTiles], low[kSteps][kColumnTiles];
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; j += 2) {
      uint32_t words[4];
      LoadMatrices(right + 8 * j * kSlicePitch + 16 * s, words);
      high[s][j] = {{words[0], words[1]}};
      high[s][j + 1] = {{words[2], words[3]}};
      LoadMatrices(right + kOperand + 8 * j * kSlicePitch + 16 * s, words);
      low[s][j] = {{words[0], words[1]}};
      low[s][j + 1] = {{words[2], words[3]}};
    }
  }
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    FragmentA label_high[kSteps], label_low[kSteps];
    float part[kColumnTiles][4] = {};
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      LoadMatrices(left + 16 * i * kSlicePitch + 16 * s, label_high[s].words);
      LoadMatrices(left + kOperand + 16 * i * kSlicePitch + 16 * s, label_low[s].words);
    }
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) MultiplyFragments(label_low[s], high[s][j], part[j]);
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) MultiplyFragments(label_high[s], low[s][j], part[j]);
    }
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) MultiplyFragments(label_high[s], high[s][j], part[j]);
    }
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        sums[i][j][n] += part[j][n];
        spread[i][j][n / 2] += fabsf(sums[i][j][n]);
      }
    }
  }
}

// A block makes 128 labels by 128 columns, a warp 64 by 32 of it.
__global__ void __launch_bounds__(kThreads, 1) SplitProductKernel(ProductParams params) {
  uint16_t* const shared = SharedMemory<uint16_t>();
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileRows;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / 4 * kWarpRows, warp_column = warp % 4 * kWarpColumns;
  const FragmentPlace in_a = RowOfA(lane), in_b = RowOfB(lane);
  const int left_at = (warp_row + in_a.row) * kSlicePitch + in_a.column;
  const int right_at = 2 * kOperand + (warp_column + in_b.row) * kSlicePitch + in_b.column;
  float sums[kRowTiles][kColumnTiles][4] = {}, spread[kRowTiles][kColumnTiles][2] = {};

  SliceReader reader(params, first_row, first_column);
  reader.Start(shared);
  CommitCopies();
  const uint32_t slices = static_cast<uint32_t>(params.inner) / kSlice;
#pragma unroll 1
  for (uint32_t slice = 0; slice < slices; ++slice) {
    WaitForCopies<0>();
    // This slice has arrived for all threads, and the previous one is no longer read.
    __syncthreads();
    if (slice + 1 < slices) reader.Start(shared + (slice + 1) % kStages * (kOperands * kOperand));
    CommitCopies();
    const uint16_t* const from = shared + slice % kStages * (kOperands * kOperand);
    MultiplySlice(from + left_at, from + right_at, sums, spread);
  }

#pragma unroll
  for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const FragmentPlace place = PlaceInSums(lane, n);
      const uint64_t column = first_column + warp_column + 8 * j + place.column;
      if (column >= params.latent) continue;
      const float centre = params.centre[column];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const uint64_t row = first_row + warp_row + 16 * i + place.row;
        if (row >= params.rows) continue;
        params.vectors[row * params.latent + column] = sums[i][j][n] + centre;
        if (n % 2 == 0) params.spread[row * params.pairs + column / 2] = spread[i][j][n / 2];
      }
    }
  }
}

struct OffParams {
  const float* spread;
  const float4* labels;
  const float4* columns;
  float* off;  // [count, segments]
  uint64_t elements;
  uint64_t pairs;
  uint32_t segments;
  uint32_t width;
};

// One thread per segment.
__global__ void OffKernel(OffParams params) {
  const uint64_t at = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= params.elements) return;
  const float4 label = params.labels[at / params.segments];
  const float4 column = params.columns[at % params.segments];
  const uint32_t first = static_cast<uint32_t>(at % params.segments) * params.width;
  const float* const spread = params.spread + at / params.segments * params.pairs;
  float square = 0.0f;
  for (uint32_t pair = first / 2; pair <= (first + params.width - 1) / 2; ++pair) {
    square = fmaf(spread[pair], spread[pair], square);
  }
  constexpr float kUnit = static_cast<float>(kChainRounding);
  constexpr float kTensor = 2.2f * 17 * 0x1p-22f;
  const float left_out = label.y * column.y + label.z * column.x + label.x * column.z;
  const float rounded = (kTensor + kSlice * kUnit) * label.x * column.x;
  const float chain = kUnit * (column.w + (kSlice + 2) * sqrtf(square));
  params.off[at] = 1.02f * (left_out + rounded + chain) + 0x1p-90f;
}

// The working memory of a count of labels.
struct Work {
  float4* facts;
  Parts labels;
  SplitLatents latents;
  float* spread;
  uint64_t bytes;
};
Work LayOutWork(const SplitShape& shape, uint64_t count, void* memory) {
  const uint64_t rows = RoundUpTo(count, kTileRows), elements = rows * InnerOf(shape);
  char* at = static_cast<char*>(memory);
  const auto take = [&at](uint64_t bytes) {
    char* const part = at;
    at += RoundUpTo(bytes, 16);
    return part;
  };
  Work work = {};
  work.facts = reinterpret_cast<float4*>(take(rows * sizeof(float4)));
  work.labels = {reinterpret_cast<uint16_t*>(take(2 * elements * sizeof(uint16_t))), elements};
  work.latents.vectors = reinterpret_cast<float*>(take(count * shape.latent * sizeof(float)));
  work.latents.off = reinterpret_cast<float*>(take(count * shape.segments() * sizeof(float)));
  work.spread = reinterpret_cast<float*>(take(count * PairsOf(shape) * sizeof(float)));
  work.bytes = static_cast<uint64_t>(at - static_cast<char*>(memory));
  return work;
}

}  // namespace

uint64_t SplitProjectionBytes(const SplitShape& shape) {
  const uint64_t elements = RoundUpTo(shape.latent, kTileRows) * InnerOf(shape);
  return shape.segments() * sizeof(float4) + 2 * elements * sizeof(uint16_t) +
         shape.latent * sizeof(float);
}

void PrepareSplitProjection(Operation& operation, const SplitShape& shape, const float* projection,
                            void* prepared) {
  if (!operation.ok()) return;
  const Prepared to = LayOut(shape, prepared);
  operation.Clear(to.columns.high, 0, 2 * to.columns.apart * sizeof(uint16_t));
  operation.Run(
      "splitting a projection", SplitProjectionKernel,
      {static_cast<unsigned>(shape.segments()), kPrepareThreads,
       4 * kPrepareThreads * sizeof(double)},
      {projection, to, shape.classes, shape.latent, shape.width, InnerOf(shape), CentreOf(shape)});
}

uint64_t SplitWorkBytes(const SplitShape& shape, uint64_t count) {
  return LayOutWork(shape, count, nullptr).bytes;
}

SplitLatents RunSplitProjection(Operation& operation, const SplitShape& shape, const float* labels,
                                uint64_t count, void* prepared, void* work) {
  if (!operation.ok() || count == 0) return {};
  const Prepared columns = LayOut(shape, prepared);
  const Work at = LayOutWork(shape, count, work);
  const unsigned tiles = static_cast<unsigned>((count + kTileRows - 1) / kTileRows);
  operation.Run(
      "splitting labels", SplitLabelsKernel, {tiles * (kTileRows / 8), kThreads},
      {labels, at.labels, at.facts, count, shape.classes, InnerOf(shape), CentreOf(shape)});
  const unsigned across = static_cast<unsigned>((shape.latent + kTileRows - 1) / kTileRows);
  operation.Run("projecting on tensor cores", SplitProductKernel,
                {{across, tiles}, kThreads, kSharedBytes},
                {at.labels, columns.columns, columns.centre, at.latents.vectors, at.spread, count,
                 shape.latent, PairsOf(shape), InnerOf(shape)});
  const uint64_t segments = count * shape.segments();
  operation.Run("bounding a projection", OffKernel,
                {static_cast<unsigned>((segments + kThreads - 1) / kThreads), kThreads},
                {at.spread, at.facts, columns.facts, at.latents.off, segments, PairsOf(shape),
                 static_cast<uint32_t>(shape.segments()), static_cast<uint32_t>(shape.width)});
  return at.latents;
}

}  // namespace softpack
