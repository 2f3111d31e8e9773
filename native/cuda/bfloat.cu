// Rows by the latent method on tensor cores: both factors rounded to bfloat16 (bfloat), or each
// kept as the sum of two (split: high * high + high * low + low * high), sums in float32. Up to
// 1,024 classes Hopper goes on to labels and losses without writing rows (bfloat_labels.cu).
//
// Counted cost per label at (classes, latent) = (1000, 1000), padded to 1024 by 1024: 2.1 MFLOP, at
// the 790 TFLOP/s that an H100 or H200 sustains 380 M labels/s (split: 125 M), of which mma.sync
// reaches about two thirds. From L2 each tile reads 2 * 128 * 1024 * 2 bytes: 4 kB per label and
// tile column, 32 kB per label in all, 170 M labels/s at 5.5 TB/s, which is the limit; then 4 kB of
// values are written and read again by finish.cu.
//
// Latents: 2 kB per label written, and read with the tiles; 512 words, each some 12 instructions
// and three or five accesses to L1, 1 ns on an H100. Looking codewords up inside the product would
// spare the writing but repeat the rest in each of the 8 column tiles, and load words instead of
// slices of 16 bytes: four copies for one.
#include "core/scalar_math.h"
#include "cuda/bfloat_tile.h"
#include "cuda/layout.h"

namespace softpack {
namespace {

using namespace bfloat;

struct RoundParams {
  const float* from;  // element (row, k) at from[row * row_stride + k * k_stride]
  uint64_t row_stride;
  uint64_t k_stride;
  uint64_t rows;
  uint64_t latent;
  uint16_t* high;  // [grid rows, latent_stride], zeros in the padding
  uint16_t* low;   // or null
  uint64_t latent_stride;
};

__device__ inline void StoreRounded(float value, uint64_t at, uint16_t* high, uint16_t* low) {
  const uint16_t rounded = scalar::FloatToBfloat(value);
  high[at] = rounded;
  if (low == nullptr) return;
  const float rest = value - scalar::FloatOf(static_cast<uint32_t>(rounded) << 16);
  low[at] = scalar::FloatToBfloat(rest);
}

__global__ void RoundKernel(RoundParams params) {
  const uint64_t row = blockIdx.x;
  for (uint64_t k = threadIdx.x; k < params.latent_stride; k += kThreads) {
    const bool inside = row < params.rows && k < params.latent;
    const float value = inside ? params.from[row * params.row_stride + k * params.k_stride] : 0.0f;
    StoreRounded(value, row * params.latent_stride + k, params.high, params.low);
  }
}

// Adjacent segments, the common case: copies of codewords that were rounded once.
struct LookUpParams {
  const uint16_t* from_high;  // as tables.codebooks
  const uint16_t* from_low;   // or null
  uint16_t* high;             // [count, latent_stride], zeros in the padding
  uint16_t* low;
  const uint16_t* indices;  // [count, stages]
  uint64_t count;
  uint64_t stages;
  uint64_t latent_stride;
  uint64_t codebook_stride;
  uint32_t latent;
  uint32_t width;
};

constexpr uint32_t kLookUpLabels = 16;  // a block

// One thread per two elements of each label: their place in a codeword is computed once. With
// kPairs no two are of different codewords, and each pair is one word.
template <bool kPairs>
__global__ void __launch_bounds__(kThreads) LookUpKernel(LookUpParams params) {
  const uint32_t first = 2 * (blockIdx.y * kThreads + threadIdx.x);
  if (first >= params.latent_stride) return;
  uint64_t stage[2], at[2];
  bool inside[2];
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    inside[i] = first + i < params.latent;
    stage[i] = inside[i] ? (first + i) / params.width : 0;
    at[i] = stage[i] * params.codebook_stride + (inside[i] ? (first + i) % params.width : 0);
  }
  const auto word = [&](const uint16_t* from, const uint64_t (&codeword)[2]) {
    if constexpr (kPairs) {
      return inside[0] ? *reinterpret_cast<const uint32_t*>(from + at[0] + codeword[0]) : 0u;
    } else {
      const uint32_t low = inside[0] ? from[at[0] + codeword[0]] : 0;
      const uint32_t high = inside[1] ? from[at[1] + codeword[1]] : 0;
      return low | high << 16;
    }
  };
  const uint64_t first_label = static_cast<uint64_t>(blockIdx.x) * kLookUpLabels;
#pragma unroll 4
  for (uint32_t i = 0; i < kLookUpLabels; ++i) {
    const uint64_t label = first_label + i;
    if (label >= params.count) break;
    const uint16_t* const indices = params.indices + label * params.stages;
    const uint64_t codeword[2] = {
        indices[stage[0]] * static_cast<uint64_t>(params.width),
        kPairs ? 0 : indices[stage[1]] * static_cast<uint64_t>(params.width)};
    const uint64_t to = label * params.latent_stride + first;
    *reinterpret_cast<uint32_t*>(params.high + to) = word(params.from_high, codeword);
    if (params.low != nullptr) {
      *reinterpret_cast<uint32_t*>(params.low + to) = word(params.from_low, codeword);
    }
  }
}

// Segments that overlap, or labels with a prediction: their latents are rounded as a whole.
struct GatherParams {
  DecoderTables tables;
  LabelChunk chunk;
  uint16_t* high;  // [count, latent_stride]
  uint16_t* low;
};

__global__ void GatherRoundedKernel(GatherParams params) {
  const uint64_t label = blockIdx.x;
  const DecoderTables& tables = params.tables;
  for (uint64_t e = threadIdx.x; e < tables.latent_stride; e += kThreads) {
    const float value = e < tables.latent ? LatentElement(tables, params.chunk, label, e) : 0.0f;
    StoreRounded(value, label * tables.latent_stride + e, params.high, params.low);
  }
}

__global__ void __launch_bounds__(kThreads) BfloatProductKernel(ProductParams params) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileColumns;
  float sums[kRowTiles][kColumnTiles][4];
  MultiplyBfloatTile(params, first_row, first_column, sums);
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int n = 0; n < 4; n += 2) {
        const TilePlace place = PlaceInTile(static_cast<int>(threadIdx.x), i, j, n);
        const uint64_t row = first_row + place.row;
        const uint64_t column = first_column + place.column;
        if (row >= params.rows || column >= params.columns) continue;
        const float2 bias = *reinterpret_cast<const float2*>(params.bias + column);
        *reinterpret_cast<float2*>(params.out + row * params.columns + column) =
            make_float2(sums[i][j][n] + bias.x, sums[i][j][n + 1] + bias.y);
      }
    }
  }
}

}  // namespace

void CudaDecoder::CreateBfloat(Operation& operation, const SoftpackDecoderSpec& spec, bool split) {
  tables_.latent_stride = RoundUpTo(spec.latent, kSlice);
  const uint64_t rows = RoundUpTo(spec.classes, kTileColumns);
  uint16_t* const high = Hold<uint16_t>(operation, basis_high_, rows * tables_.latent_stride);
  uint16_t* const low =
      split ? Hold<uint16_t>(operation, basis_low_, rows * tables_.latent_stride) : nullptr;
  operation.Run("rounding the basis", RoundKernel, {static_cast<unsigned>(rows), kThreads},
                {tables_.basis, 1, spec.classes, spec.classes, spec.latent, high, low,
                 tables_.latent_stride});
  tables_.basis_high = high;
  tables_.basis_low = low;

  if (spec.latent_step != spec.width || spec.stages * spec.width != spec.latent) return;
  const uint64_t elements = codebooks_.bytes() / sizeof(float);
  uint16_t* const codebooks = Hold<uint16_t>(operation, codebooks_high_, elements);
  uint16_t* const rest = split ? Hold<uint16_t>(operation, codebooks_low_, elements) : nullptr;
  operation.Run("rounding codewords", RoundKernel, {1, kThreads},
                {tables_.codebooks, 0, 1, 1, elements, codebooks, rest, elements});
  tables_.codebooks_high = codebooks;
  tables_.codebooks_low = rest;
}

ProductParams StartBfloatProduct(Operation& operation, const DecoderTables& tables,
                                 const LabelChunk& chunk, uint16_t* latents) {
  const uint64_t elements = BfloatLatents(tables, chunk.count);
  const bool split = tables.basis_low != nullptr;
  uint16_t* const low = split ? latents + elements / 2 : nullptr;
  if (tables.codebooks_high != nullptr && chunk.base_pairs == nullptr) {
    const bool pairs = tables.width % 2 == 0 && tables.codebook_stride % 2 == 0;
    const unsigned across =
        static_cast<unsigned>((tables.latent_stride / 2 + kThreads - 1) / kThreads);
    const unsigned blocks =
        static_cast<unsigned>((chunk.count + kLookUpLabels - 1) / kLookUpLabels);
    operation.Run("looking codewords up", pairs ? LookUpKernel<true> : LookUpKernel<false>,
                  {{blocks, across}, kThreads},
                  {tables.codebooks_high, tables.codebooks_low, latents, low, chunk.indices,
                   chunk.count, tables.stages, tables.latent_stride, tables.codebook_stride,
                   static_cast<uint32_t>(tables.latent), static_cast<uint32_t>(tables.width)});
  } else {
    operation.Run("looking codewords up", GatherRoundedKernel,
                  {static_cast<unsigned>(chunk.count), kThreads}, {tables, chunk, latents, low});
  }
  return {latents,       low,          tables.basis_high,    tables.basis_low,
          split ? 3 : 1, chunk.count,  tables.latent_stride, tables.bias,
          nullptr,       tables.stride};
}

uint64_t BfloatLatents(const DecoderTables& tables, uint64_t count) {
  const uint64_t parts = tables.basis_low != nullptr ? 2 : 1;
  return parts * RoundUpTo(count, kTileRows) * tables.latent_stride;
}

void RunBfloatValues(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     uint16_t* latents, float* values) {
  ProductParams params = StartBfloatProduct(operation, tables, chunk, latents);
  params.out = values;
  const dim3 grid(static_cast<unsigned>((tables.stride + kTileColumns - 1) / kTileColumns),
                  static_cast<unsigned>((chunk.count + kTileRows - 1) / kTileRows));
  operation.Run("multiplying on tensor cores", BfloatProductKernel, {grid, kThreads, kSharedBytes},
                params);
}

}  // namespace softpack
