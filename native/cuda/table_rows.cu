// Rows by tables of float32 or 16-bit fixed point: a warp sums one label's rows, 32 columns per
// lane in registers, and computes the head or the loss there as well.
//
// Counted cost per label at 1,000 classes (1,024 columns in memory), for `stages` rows:
//   fixed  2 kB per stage from L2 (or L1, which holds part of a small table): 16 bytes per load,
//          two columns per addition. (50, 128): 20 rows, 41 kB; (100, 64): 10 rows, 20 kB. At
//          5.5 TB/s of L2 134 M and 268 M labels/s.
//   table  twice that.
//   out    4 kB written in float32, 2 kB in float16 or bfloat16, in whole lines; with the loss 4 kB
//          of logits read and 4 kB of gradient written instead. 4.8 TB/s of memory: 1.2 G labels/s.
// Indices: 2 bytes per stage, one load of a warp for 32 stages, distributed by shuffles.
#include <algorithm>

#include "cuda/decoder.h"
#include "cuda/layout.h"

namespace softpack {
namespace {

constexpr int kWarps = 4;  // labels a block

struct TableParams {
  DecoderTables tables;
  LabelChunk chunk;
  RowTarget target;
  float* values;  // [count, stride], where rows do not fit registers
};

// The index of each of 32 stages at a time, from the lane that read it.
class IndexReader {
 public:
  __device__ IndexReader(const uint16_t* indices, uint32_t stages)
      : indices_(indices), stages_(stages) {}
  __device__ uint32_t At(uint32_t stage) {
    if (stage % kWarp == 0) {
      const uint32_t mine = stage + threadIdx.x % kWarp;
      held_ = mine < stages_ ? indices_[mine] : 0;
    }
    return __shfl_sync(kFullWarp, held_, stage % kWarp);
  }

 private:
  const uint16_t* indices_;
  uint32_t stages_;
  uint32_t held_ = 0;
};

__device__ inline void AddPrediction(const TableParams& params, uint64_t label, uint64_t first,
                                     LaneRow<true>& row) {
  if (params.chunk.base_pairs == nullptr) return;
  const DecoderTables& tables = params.tables;
  const uint32_t* const pair = params.chunk.base_pairs + 2 * label;
  const float* const a = tables.base_table + pair[0] * tables.stride + first;
  const float* const b = tables.base_table + pair[1] * tables.stride + first;
  const float weight = params.chunk.base_weights[label];
  ForEachColumn<true>(tables.classes - first, [&](int t, uint64_t j) {
    row.Set(t, fmaf(weight, a[j], fmaf(1.0f - weight, b[j], row.Get(t))));
  });
}

// v of columns `first` and up to 1,023 more.
__device__ inline void SumFloatRows(const TableParams& params, uint64_t label, uint64_t first,
                                    LaneRow<true>& row) {
  constexpr int kLoads = kLaneColumns / kFloatVector;
  const DecoderTables& tables = params.tables;
  const uint32_t lane = threadIdx.x % kWarp;
#pragma unroll
  for (int t = 0; t < kLaneColumns; ++t) {
    const uint64_t column = first + t * kWarp + lane;
    row.Set(t, column < tables.stride ? tables.bias[column] : 0.0f);
  }
  const uint32_t stages = static_cast<uint32_t>(tables.stages);
  IndexReader indices(params.chunk.indices + label * stages, stages);
  for (uint32_t stage = 0; stage < stages; ++stage) {
    const uint64_t level = stage * tables.levels + indices.At(stage);
    const float* const from = tables.table + level * tables.table_stride + first;
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      const uint64_t position = (load * kWarp + lane) * kFloatVector;
      if (first + position >= tables.table_stride) continue;
      const float4 part = *reinterpret_cast<const float4*>(from + position);
      const int t = load * kFloatVector;
      row.Set(t, row.Get(t) + part.x);
      row.Set(t + 1, row.Get(t + 1) + part.y);
      row.Set(t + 2, row.Get(t + 2) + part.z);
      row.Set(t + 3, row.Get(t + 3) + part.w);
    }
  }
}

__device__ inline void SumFixedRows(const TableParams& params, uint64_t label, uint64_t first,
                                    LaneRow<true>& row) {
  constexpr int kLoads = kLaneColumns / kFixedVector;
  const DecoderTables& tables = params.tables;
  const uint32_t lane = threadIdx.x % kWarp;
#pragma unroll
  for (int t = 0; t < kLaneColumns; ++t) {
    const uint64_t column = first + t * kWarp + lane;
    row.Set(t, column < tables.stride ? tables.start[column] : 0.0f);
  }
  const uint32_t stages = static_cast<uint32_t>(tables.stages);
  IndexReader indices(params.chunk.indices + label * stages, stages);
  uint32_t stage = 0;
  for (uint32_t run = 0; run < tables.runs; ++run) {
    uint4 sums[kLoads];
#pragma unroll
    for (int load = 0; load < kLoads; ++load) sums[load] = {0, 0, 0, 0};
    const uint32_t end = tables.run_ends[run];
    for (; stage < end; ++stage) {
      const uint64_t level = stage * tables.levels + indices.At(stage);
      const uint32_t* const from = tables.fixed + level * tables.table_stride + first / 2;
#pragma unroll
      for (int load = 0; load < kLoads; ++load) {
        const uint64_t position = (load * kWarp + lane) * (kFixedVector / 2);
        if (first / 2 + position >= tables.table_stride) continue;
        const uint4 part = *reinterpret_cast<const uint4*>(from + position);
        sums[load].x += part.x;
        sums[load].y += part.y;
        sums[load].z += part.z;
        sums[load].w += part.w;
      }
    }
    const float* const steps = tables.steps + run * tables.stride;
#pragma unroll
    for (int t = 0; t < kLaneColumns; ++t) {
      const uint4 vector = sums[t / kFixedVector];
      const int pair = t % kFixedVector / 2;
      const uint32_t word = pair == 0   ? vector.x
                            : pair == 1 ? vector.y
                            : pair == 2 ? vector.z
                                        : vector.w;
      const float sum = static_cast<float>(t % 2 == 0 ? LowSum(word) : HighSum(word));
      const uint64_t column = first + t * kWarp + lane;
      if (column < tables.stride) row.Set(t, fmaf(sum * 65536.0f, steps[column], row.Get(t)));
    }
  }
}

enum class TableType { kFloat, kFixed };

template <TableType kType, RowUse kUse>
__global__ void __launch_bounds__(kWarps* kWarp) TableKernel(TableParams params) {
  const uint64_t label = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (label >= params.chunk.count) return;
  LaneRow<true> row;
  if constexpr (kType == TableType::kFloat)
    SumFloatRows(params, label, 0, row);
  else
    SumFixedRows(params, label, 0, row);
  AddPrediction(params, label, 0, row);
  UseRow<kUse, true>(params.target, label, row);
}

// For more classes than registers hold: each block of the grid's second dimension has 1,024
// columns.
template <TableType kType>
__global__ void __launch_bounds__(kWarps* kWarp) WideTableKernel(TableParams params) {
  const uint64_t label = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (label >= params.chunk.count) return;
  const uint64_t first = static_cast<uint64_t>(blockIdx.y) * kRegisterClasses;
  LaneRow<true> row;
  if constexpr (kType == TableType::kFloat)
    SumFloatRows(params, label, first, row);
  else
    SumFixedRows(params, label, first, row);
  AddPrediction(params, label, first, row);
  float* const to = params.values + label * params.tables.stride + first;
  ForEachColumn<true>(params.tables.classes - first,
                      [&](int t, uint64_t j) { to[j] = row.Get(t); });
}

template <TableType kType>
void Run(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
         const RowTarget& target, RowUse use, float* values) {
  const TableParams params = {tables, chunk, target, values};
  const unsigned blocks = static_cast<unsigned>((chunk.count + kWarps - 1) / kWarps);
  const unsigned threads = kWarps * kWarp;
  if (tables.classes > kRegisterClasses) {
    const unsigned across =
        static_cast<unsigned>((tables.classes + kRegisterClasses - 1) / kRegisterClasses);
    operation.Run("adding table rows up", WideTableKernel<kType>, {{blocks, across}, threads},
                  params);
    RunRows(operation, target, use, values, tables.stride);
  } else if (use == RowUse::kDecode) {
    operation.Run("decoding by tables", TableKernel<kType, RowUse::kDecode>, {blocks, threads},
                  params);
  } else {
    operation.Run("decoding by tables for the loss", TableKernel<kType, RowUse::kKl>,
                  {blocks, threads}, params);
  }
}

}  // namespace

void RunTable(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
              const RowTarget& target, RowUse use, float* values) {
  Run<TableType::kFloat>(operation, tables, chunk, target, use, values);
}

void RunFixed(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
              const RowTarget& target, RowUse use, float* values) {
  Run<TableType::kFixed>(operation, tables, chunk, target, use, values);
}

}  // namespace softpack
