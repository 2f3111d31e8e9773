// Labels and losses straight from the product on tensor cores, on Hopper: a cluster of up to eight
// blocks holds whole rows of 128 labels in registers, 128 classes a block, and its blocks exchange
// their parts of a row's sums through shared memory. Rows of values are never written.
//
// Counted cost per label at (classes, latent) = (1000, 1000) besides the product's (bfloat.cu): 4
// kB (2 kB) of labels written, or 4 kB of logits read (three times, twice from L2) and 4 kB of
// gradient written; a few floats exchanged. It saves 8 kB of L2 traffic per label and a launch, as
// no rows are stored. The product's operands from L2 stay the limit, at 170 M labels/s or less;
// blocks of a cluster that shared them would lift it to the 250 M of mma.sync.
//
// Sums of a row: 8 per thread, of four threads by shuffles, of four warps by shared memory, of the
// cluster's blocks in order of their ranks: a fixed order, though not the CPU's.
#include <algorithm>

#include "core/scalar_math.h"
#include "cuda/bfloat_tile.h"
#include "cuda/cluster.h"

namespace softpack {
namespace {

using namespace bfloat;

constexpr int kThreadRows = 2 * kRowTiles;  // rows that a thread holds elements of
constexpr int kColumnWarps = kTileColumns / kWarpColumns;
static_assert(kRegisterClasses <= kMostClusterBlocks * kTileColumns, "a cluster holds a row");

struct LabelsParams {
  ProductParams product;
  RowTarget target;
};

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Most {
  __device__ float operator()(float a, float b) const { return Greater(a, b); }
};

// Totals over whole rows of kCount quantities, from each thread's share of them, to all threads.
// All threads of the cluster take part.
template <int kCount, class Combine>
__device__ __forceinline__ void RowTotals(float (&parts)[kCount][kThreadRows], unsigned blocks,
                                          const Combine& combine) {
  // [kCount][kTileRows][kColumnWarps], [kCount][kTileRows] of this block, [kCount][kTileRows] of
  // all
  float* const of_warps = SharedMemory<float>();
  float* const of_block = of_warps + kCount * kTileRows * kColumnWarps;
  float* const of_rows = of_block + kCount * kTileRows;
  const int thread = static_cast<int>(threadIdx.x);
  __syncthreads();  // the product's slices, or the totals before these, are used up
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
#pragma unroll
    for (int r = 0; r < kThreadRows; ++r) {
      float part = parts[q][r];
      part = combine(part, __shfl_xor_sync(kFullWarp, part, 1));
      part = combine(part, __shfl_xor_sync(kFullWarp, part, 2));
      const int row = PlaceInTile(thread, r / 2, 0, r % 2 * 2).row;
      if (thread % 4 == 0) {
        of_warps[(q * kTileRows + row) * kColumnWarps + thread / 32 % kColumnWarps] = part;
      }
    }
  }
  __syncthreads();
  for (int i = thread; i < kCount * kTileRows; i += kThreads) {
    const float* const warps = of_warps + i * kColumnWarps;
    of_block[i] = combine(combine(warps[0], warps[1]), combine(warps[2], warps[3]));
  }
  ClusterSync();
  for (int i = thread; i < kCount * kTileRows; i += kThreads) {
    float total = ReadOfCluster(of_block + i, 0);
    for (unsigned rank = 1; rank < blocks; ++rank) {
      total = combine(total, ReadOfCluster(of_block + i, rank));
    }
    of_rows[i] = total;
  }
  // Others may read this block's share until here, and it may be written again from here on.
  ClusterSync();
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
#pragma unroll
    for (int r = 0; r < kThreadRows; ++r) {
      parts[q][r] = of_rows[q * kTileRows + PlaceInTile(thread, r / 2, 0, r % 2 * 2).row];
    }
  }
}

// Calls f(value, r, row, column) for each element of this thread that is a class of a label; `r`
// is the number of the row within the thread.
template <class Function>
__device__ __forceinline__ void ForEachElement(const LabelsParams& params,
                                               float (&sums)[kRowTiles][kColumnTiles][4],
                                               const Function& f) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileColumns;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const TilePlace place = PlaceInTile(static_cast<int>(threadIdx.x), i, j, n);
        const uint64_t row = first_row + place.row, column = first_column + place.column;
        if (row < params.target.count && column < params.target.classes) {
          f(sums[i][j][n], 2 * i + n / 2, row, column);
        }
      }
    }
  }
}

// The same of two elements side by side, of an even number of classes: lanes of a row then touch
// whole sectors of float32.
template <class Function>
__device__ __forceinline__ void ForEachPair(const LabelsParams& params,
                                            float (&sums)[kRowTiles][kColumnTiles][4],
                                            const Function& f) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileColumns;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int n = 0; n < 4; n += 2) {
        const TilePlace place = PlaceInTile(static_cast<int>(threadIdx.x), i, j, n);
        const uint64_t row = first_row + place.row, column = first_column + place.column;
        if (row >= params.target.count || column >= params.target.classes) continue;
        float two[] = {sums[i][j][n], sums[i][j][n + 1]};
        f(two, 2 * i + n / 2, row, column);
      }
    }
  }
}

template <int kCount>
__device__ __forceinline__ void Fill(float (&parts)[kCount][kThreadRows], float value) {
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
#pragma unroll
    for (int r = 0; r < kThreadRows; ++r) parts[q][r] = value;
  }
}

// See FinishRow of rows.h.
__device__ __forceinline__ void WriteLabels(const LabelsParams& params,
                                            float (&v)[kRowTiles][kColumnTiles][4]) {
  const RowTarget& target = params.target;
  const HeadParams head = target.head;
  float scales[1][kThreadRows];
  if (head.kind == kSoftpackHeadIdentity) {
    Fill(scales, 1.0f);
  } else {
    float greatest[1][kThreadRows];
    Fill(greatest, -Infinity());
    if (head.kind == kSoftpackHeadSoftmax) {
      ForEachElement(params, v, [&](float value, int r, uint64_t, uint64_t) {
        greatest[0][r] = Greater(greatest[0][r], value);
      });
      RowTotals(greatest, gridDim.x, Most());
    }
    Fill(scales, 0.0f);
    ForEachElement(params, v, [&](float& value, int r, uint64_t, uint64_t) {
      value = head.kind == kSoftpackHeadClamp
                  ? Greater(head.parameter, value)
                  : scalar::Exp((value - greatest[0][r]) * head.parameter);
      scales[0][r] += value;
    });
    RowTotals(scales, gridDim.x, Plus());
#pragma unroll
    for (int r = 0; r < kThreadRows; ++r) scales[0][r] = 1.0f / scales[0][r];
  }
  const bool pairs =
      target.classes % 2 == 0 &&
      reinterpret_cast<uintptr_t>(target.out) % (2 * SoftpackDtypeBytes(target.out_type)) == 0;
  WithElement(target.out_type, [&](auto element) {
    if (pairs) {
      ForEachPair(params, v, [&](float (&two)[2], int r, uint64_t row, uint64_t column) {
        element.StoreTwo(target.out, row * target.classes + column, two[0] * scales[0][r],
                         two[1] * scales[0][r]);
      });
    } else {
      ForEachElement(params, v, [&](float value, int r, uint64_t row, uint64_t column) {
        element.Store(target.out, row * target.classes + column, value * scales[0][r]);
      });
    }
  });
}

// Losses of this thread's rows, from their sums; threads of the first column write.
__device__ __forceinline__ void WriteRowLosses(const RowTarget& target, const float* labels,
                                               const float* students, const float* mixed,
                                               const float* entropies) {
  if (blockIdx.x != 0 || PlaceInTile(static_cast<int>(threadIdx.x), 0, 0, 0).column != 0) return;
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    const uint64_t row = static_cast<uint64_t>(blockIdx.y) * kTileRows +
                         PlaceInTile(static_cast<int>(threadIdx.x), r / 2, 0, r % 2 * 2).row;
    if (row >= target.count) continue;
    float loss = scalar::Log(students[r]) - mixed[r] / labels[r];
    if (target.entropy) loss += entropies[r] / labels[r] - scalar::Log(labels[r]);
    target.losses[row] = loss;
  }
}

// See KlRow of rows.h. Logits are read again instead of kept, as registers hold v.
__device__ __forceinline__ void WriteLosses(const LabelsParams& params,
                                            float (&v)[kRowTiles][kColumnTiles][4]) {
  const RowTarget& target = params.target;
  const HeadParams head = target.head;
  const bool clamp = head.kind == kSoftpackHeadClamp;
  float greatest[2][kThreadRows];  // of logits, of values
  Fill(greatest, -Infinity());
  WithElement(target.logits_type, [&](auto element) {
    ForEachElement(params, v, [&](float value, int r, uint64_t row, uint64_t column) {
      const float logit = element.Load(target.logits, row * target.classes + column);
      greatest[0][r] = Greater(greatest[0][r], logit);
      greatest[1][r] = Greater(greatest[1][r], value);
    });
  });
  RowTotals(greatest, gridDim.x, Most());
  enum { kLabel, kStudent, kMixed, kEntropy, kQuantities };
  float totals[kQuantities][kThreadRows];
  Fill(totals, 0.0f);
  WithElement(target.logits_type, [&](auto element) {
    ForEachElement(params, v, [&](float& value, int r, uint64_t row, uint64_t column) {
      float w, log_w = 0.0f;
      if (clamp) {
        w = Greater(head.parameter, value);
        if (target.entropy) log_w = scalar::Log(w);
      } else {
        log_w = (value - greatest[1][r]) * head.parameter;
        w = scalar::Exp(log_w);
      }
      const float logit = element.Load(target.logits, row * target.classes + column);
      const float b = (logit - greatest[0][r]) * target.inverse_tau;
      value = w;
      totals[kLabel][r] += w;
      totals[kStudent][r] += scalar::Exp(b);
      totals[kMixed][r] = fmaf(w, b, totals[kMixed][r]);
      totals[kEntropy][r] = fmaf(w, log_w, totals[kEntropy][r]);
    });
  });
  RowTotals(totals, gridDim.x, Plus());
  if (target.losses != nullptr) {
    WriteRowLosses(target, totals[kLabel], totals[kStudent], totals[kMixed], totals[kEntropy]);
  }
  if (target.gradient == nullptr) return;
  // Two divisions a row: the gradient's factors take the place of the sums.
#pragma unroll
  for (int r = 0; r < kThreadRows; ++r) {
    totals[kLabel][r] = target.gradient_scale / totals[kLabel][r];
    totals[kStudent][r] = target.gradient_scale / totals[kStudent][r];
  }
  WithElement(target.logits_type, [&](auto element) {
    ForEachElement(params, v, [&](float w, int r, uint64_t row, uint64_t column) {
      const uint64_t at = row * target.classes + column;
      const float b = (element.Load(target.logits, at) - greatest[0][r]) * target.inverse_tau;
      element.Store(target.gradient, at,
                    fmaf(scalar::Exp(b), totals[kStudent][r], -(w * totals[kLabel][r])));
    });
  });
}

template <RowUse kUse>
__global__ void __launch_bounds__(kThreads) BfloatLabelsKernel(LabelsParams params) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileColumns;
  float v[kRowTiles][kColumnTiles][4];
  // Blocks beyond the classes only round the cluster up.
  if (first_column < params.target.classes) {
    MultiplyBfloatTile(params.product, first_row, first_column, v);
    ForEachElement(params, v, [&](float& value, int, uint64_t, uint64_t column) {
      value += params.product.bias[column];
    });
  }
  if constexpr (kUse == RowUse::kDecode)
    WriteLabels(params, v);
  else
    WriteLosses(params, v);
}

}  // namespace

bool BfloatLabelsFit(uint64_t classes) {
  return Facts().instructions >= kClusterCapability && classes <= kRegisterClasses;
}

void RunBfloatLabels(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                     const RowTarget& target, RowUse use, uint16_t* latents) {
  const LabelsParams params = {StartBfloatProduct(operation, tables, chunk, latents), target};
  unsigned blocks = 1;
  while (blocks * kTileColumns < tables.classes) blocks *= 2;
  const dim3 grid(blocks, static_cast<unsigned>((chunk.count + kTileRows - 1) / kTileRows));
  const LaunchShape shape = {grid, kThreads, kSharedBytes, blocks};
  if (use == RowUse::kDecode)
    operation.Run("decoding on tensor cores", BfloatLabelsKernel<RowUse::kDecode>, shape, params);
  else
    operation.Run("the loss on tensor cores", BfloatLabelsKernel<RowUse::kKl>, shape, params);
}

}  // namespace softpack
