// Labels by a fixed-point table whose slices of columns stay in shared memory: a block holds one
// slice and passes over many labels. For tables up to some 40,000 rows of 16 bytes, (100, 64) and
// (50, 128) of 1,000 classes among them, with clamp or identity as the head.
//
// Two passes, since every label's sum is needed before its first class can be written, and has the
// CPU's order: the first computes the partial sums of a label, in slices that hold whole partial
// sums; one warp per label then adds those (kSliceSlots of them); the second looks up the rows
// again, in slices of adjacent columns, and writes labels once, in whole sectors.
//
// Counted per label of 1,000 classes and block, in cycles of shared memory at 128 bytes each, both
// passes: rows without conflicts between banks, 40 at (100, 64) and 20 at (50, 128), whose slices
// are narrower; their numbers, 5 and 2.5; shuffles, partial sums and labels written, 6 and 3. 51
// cycles of the 8 blocks that hold a table, 1.8 ns by 16 groups of them at 1.755 GHz (an H100's 132
// multiprocessors); 26 of 32 blocks, 3.6 ns by 4 groups. Besides 256 bytes of partial sums written
// and read, 2 bytes per index and slice, and the label's 4 kB (2 kB) written, 0.95 ns at 4.3 TB/s,
// and 1.5 to 3 ns to issue both passes' instructions. Reading the rows from L2 takes 3.7 and 7.5
// ns. Filling shared memory takes some 4 us: the chunk must be worth it.
#include "cuda/slices.h"

#include <algorithm>

#include "cpu/fixed_tables.h"
#include "cuda/decoder.h"
#include "cuda/layout.h"
#include "cuda/table_versions.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

constexpr int kThreads = 512;

struct ArrangeSlicesParams {
  const int16_t* from;  // [levels, columns] of one stage
  uint4* sums;          // [slices, rows, units]
  uint4* labels;        // likewise
  uint64_t columns;
  uint64_t levels;
  uint64_t stage;
  SliceShape shape;
};

__device__ inline uint4 GatherUnit(const ArrangeSlicesParams& params, uint64_t level, bool sums,
                                   uint32_t slice, uint32_t unit) {
  const int16_t* const row = params.from + level * params.columns;
  const auto element = [&](uint32_t e) {
    const uint32_t units = params.shape.units;
    const uint32_t column =
        sums ? SumColumn(units, slice, unit, e) : LabelColumn(units, slice, unit, e);
    return column < params.columns ? row[column] : int16_t{0};
  };
  return {PackPair(element(0), element(1)), PackPair(element(2), element(3)),
          PackPair(element(4), element(5)), PackPair(element(6), element(7))};
}

// One block per level.
__global__ void ArrangeSlicesKernel(ArrangeSlicesParams params) {
  const SliceShape& shape = params.shape;
  const uint64_t level = blockIdx.x;
  const uint64_t row = SliceRow(shape.together, params.levels, params.stage, level);
  for (uint32_t i = threadIdx.x; i < shape.slices * shape.units; i += kThreads) {
    const uint32_t slice = i / shape.units, unit = i % shape.units;
    const uint64_t at = (uint64_t{slice} * shape.rows + row) * shape.units + unit;
    params.sums[at] = GatherUnit(params, level, true, slice, unit);
    params.labels[at] = GatherUnit(params, level, false, slice, unit);
  }
}

struct SliceParams {
  DecoderTables tables;
  LabelChunk chunk;
  RowTarget target;
  SliceShape shape;
  float* partial_sums;   // [count, kSliceSlots]
  float* scales;         // [count], 1 over each label's sum
  const uint16_t* rows;  // as RowNumberParams
};

struct RowNumberParams {
  const uint16_t* indices;  // [count, stages]
  uint16_t* rows;           // [count rounded up to kSliceTile, together, 2 * pairs]
  uint64_t count;
  uint64_t stages;
  uint64_t levels;
  SliceShape shape;
};

// Numbers of the table rows of all labels, one thread per stage: every slice reads the same ones.
// A stage that is missing from the last step, and labels behind the last, have rows of some level
// 0.
__global__ void __launch_bounds__(kThreads) RowNumbersKernel(RowNumberParams params) {
  const SliceShape& shape = params.shape;
  const uint32_t steps = 2 * shape.pairs, each = steps * shape.together;
  const uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  const uint64_t label = i / each;
  if (label >= RoundUpTo(params.count, kSliceTile)) return;
  const uint32_t stage = static_cast<uint32_t>(i % each);
  const bool present = label < params.count && stage < params.stages;
  const uint32_t level = present ? params.indices[label * params.stages + stage] : 0;
  params.rows[label * each + stage % shape.together * steps + stage / shape.together] =
      static_cast<uint16_t>(SliceRow(shape.together, params.levels, stage, level));
}

// Starts copying a tile's row numbers.
__device__ inline void CopyRowNumbers(const SliceParams& params, uint64_t first, uint16_t* rows) {
  constexpr uint32_t kPiece = 16 / sizeof(uint16_t);
  const uint32_t each = static_cast<uint32_t>(SliceRowNumbers(params.shape));
  if (first < params.chunk.count) {
    const uint16_t* const from = params.rows + first * each;
    for (uint32_t at = threadIdx.x * kPiece; at < kSliceTile * each; at += kThreads * kPiece) {
      CopyAsync16(rows + at, from + at);
    }
  }
  CommitCopies();
}

__device__ inline void AddWords(uint4& sums, const uint4& words) {
  sums.x += words.x;
  sums.y += words.y;
  sums.z += words.z;
  sums.w += words.w;
}

enum class SlicePass { kSums, kLabels };

// A lane's work on its columns of a label's row: w of 8 columns, in the order of its unit.
template <SlicePass kPass, int kUnits>
class Columns {
 public:
  static constexpr uint32_t kTogether = kUnits < 8 ? 8 / kUnits : 1;

  __device__ Columns(const SliceParams& params, uint32_t slice, uint32_t unit)
      : unit_(unit), slice_(slice) {
#pragma unroll
    for (uint32_t e = 0; e < kUnitColumns; ++e) {
      const uint32_t column = ColumnOf(e);
      const bool inside = column < params.target.classes;
      start_[e] = inside ? params.tables.start[column] : 0.0f;
      step_[e] = inside ? params.tables.steps[column] : 0.0f;
    }
  }

  __device__ uint32_t ColumnOf(uint32_t e) const {
    return kPass == SlicePass::kSums ? SumColumn(kUnits, slice_, unit_, e)
                                     : LabelColumn(kUnits, slice_, unit_, e);
  }

  __device__ void Finish(const SliceParams& params, const uint4& sums, float (&w)[8]) const {
    const uint32_t words[] = {sums.x, sums.y, sums.z, sums.w};
    const bool clamp = params.target.head.kind == kSoftpackHeadClamp;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int32_t sum = e % 2 == 0 ? LowSum(words[e / 2]) : HighSum(words[e / 2]);
      const float v = fmaf(static_cast<float>(sum) * 65536.0f, step_[e], start_[e]);
      w[e] = clamp ? Greater(params.target.head.parameter, v) : v;
    }
  }

  // All lanes of a warp take part.
  __device__ void AddUp(const SliceParams& params, uint64_t label, bool inside,
                        const float (&w)[8]) const {
    constexpr uint32_t kSlots = kUnits / 2;
    const bool second = unit_ >= kSlots;
    const auto chain = [&](float sum) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        if (ColumnOf(e) < params.target.classes) sum += w[e];
      }
      return sum;
    };
    float sum = second ? 0.0f : chain(0.0f);
    const float before = __shfl_sync(kFullWarp, sum, (threadIdx.x - kSlots) % kWarp);
    if (!second || !inside) return;
    params.partial_sums[label * kSliceSlots + slice_ * kSlots + unit_ % kSlots] = chain(before);
  }

  // Lanes that hold the same columns of a label each write a part.
  __device__ void Write(const SliceParams& params, uint64_t label, uint32_t part,
                        const float (&w)[8]) const {
    const RowTarget& target = params.target;
    const float scale = target.head.kind == kSoftpackHeadClamp ? params.scales[label] : 1.0f;
    const uint64_t row = label * target.classes;
    constexpr uint32_t kColumns = 8 / kTogether;
#pragma unroll
    for (uint32_t half = 0; half < kTogether; ++half) {
      if (part != half) continue;
#pragma unroll
      for (uint32_t e = half * kColumns; e < (half + 1) * kColumns; e += 4) {
        const uint64_t column = ColumnOf(e);
        if (column >= target.classes) continue;
        const float four[] = {w[e] * scale, w[e + 1] * scale, w[e + 2] * scale, w[e + 3] * scale};
        StoreFour(target, row + column, target.classes - column, four);
      }
    }
  }

 private:
  static __device__ void StoreFour(const RowTarget& target, uint64_t at, uint64_t left,
                                   const float (&four)[4]) {
    WithElement(target.out_type, [&](auto element) {
      using Element = decltype(element);
      auto* const to = static_cast<typename Element::Type*>(target.out) + at;
      if (left < 4 || reinterpret_cast<uintptr_t>(to) % (4 * sizeof *to) != 0) {
        for (uint32_t i = 0; i < 4 && i < left; ++i) Element::Store(target.out, at + i, four[i]);
      } else {
        Element::StoreFour(to, four);
      }
    });
  }

  uint32_t unit_;
  uint32_t slice_;
  float start_[8];
  float step_[8];
};

// Block (slice, group): labels of every gridDim.y-th tile.
template <SlicePass kPass, int kUnits>
__global__ void __launch_bounds__(kThreads) SliceKernel(SliceParams params) {
  using Lane = Columns<kPass, kUnits>;
  constexpr uint32_t kLanes = kUnits * Lane::kTogether;  // of a label
  constexpr uint32_t kLabels = kThreads / kLanes;        // at a time
  static_assert(kSliceTile % kLabels == 0, "a warp has no label of another tile");
  const SliceShape& shape = params.shape;
  uint4* const table = SharedMemory<uint4>();
  uint16_t* rows = reinterpret_cast<uint16_t*>(table + shape.rows * kUnits);
  uint16_t* next_rows = rows + kSliceTile * shape.together * 2 * shape.pairs;
  const uint32_t slice = blockIdx.x;
  const uint32_t slice_units = shape.rows * kUnits;
  const uint4* const from =
      (kPass == SlicePass::kSums ? params.tables.sum_slices : params.tables.label_slices) +
      uint64_t{slice} * slice_units;
  for (uint32_t i = threadIdx.x; i < slice_units; i += kThreads) table[i] = from[i];

  const uint32_t unit = threadIdx.x % kUnits, part = threadIdx.x % kLanes / kUnits;
  const Lane lane(params, slice, unit);
  const uint64_t stride = uint64_t{gridDim.y} * kSliceTile;
  uint64_t first = uint64_t{blockIdx.y} * kSliceTile;
  CopyRowNumbers(params, first, rows);
  WaitForCopies<0>();
  __syncthreads();
  for (; first < params.chunk.count; first += stride) {
    CopyRowNumbers(params, first + stride, next_rows);
    for (uint32_t at = threadIdx.x / kLanes; at < kSliceTile; at += kLabels) {
      // Two row numbers per word.
      const uint32_t* const numbers =
          reinterpret_cast<const uint32_t*>(rows) + (at * Lane::kTogether + part) * shape.pairs;
      uint4 sums = {0, 0, 0, 0};
#pragma unroll 2
      for (uint32_t pair = 0; pair < shape.pairs; ++pair) {
        const uint32_t two = numbers[pair];
        AddWords(sums, table[(two & 0xffffu) * kUnits + unit]);
        AddWords(sums, table[(two >> 16) * kUnits + unit]);
      }
      if constexpr (Lane::kTogether == 2) {
        AddWords(sums, {__shfl_xor_sync(kFullWarp, sums.x, kUnits),
                        __shfl_xor_sync(kFullWarp, sums.y, kUnits),
                        __shfl_xor_sync(kFullWarp, sums.z, kUnits),
                        __shfl_xor_sync(kFullWarp, sums.w, kUnits)});
      }
      float w[8];
      lane.Finish(params, sums, w);
      const uint64_t label = first + at;
      const bool inside = label < params.chunk.count;
      if constexpr (kPass == SlicePass::kSums)
        lane.AddUp(params, label, inside && part == 0, w);
      else if (inside)
        lane.Write(params, label, part, w);
    }
    WaitForCopies<0>();
    __syncthreads();
    uint16_t* const used = rows;
    rows = next_rows;
    next_rows = used;
  }
}

// One warp per label: the sums of ClassSum::Total.
__global__ void __launch_bounds__(kThreads) ScaleKernel(SliceParams params) {
  const uint64_t label = (uint64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  if (label >= params.chunk.count) return;
  const uint32_t lane = threadIdx.x % kWarp;
  const float* const partial_sums = params.partial_sums + label * kSliceSlots;
  float sum = partial_sums[lane] + partial_sums[lane + kWarp];
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    sum += __shfl_xor_sync(kFullWarp, sum, lanes);
  }
  if (lane == 0) params.scales[label] = 1.0f / sum;
}

void RunRowNumbers(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                   const SliceShape& shape, uint16_t* rows) {
  const uint64_t numbers = RoundUpTo(chunk.count, kSliceTile) * SliceRowNumbers(shape);
  const unsigned blocks = static_cast<unsigned>((numbers + kThreads - 1) / kThreads);
  operation.Run("numbering rows", RowNumbersKernel, {blocks, kThreads},
                {chunk.indices, rows, chunk.count, tables.stages, tables.levels, shape});
}

template <int kUnits>
void RunPasses(Operation& operation, const SliceParams& params) {
  const SliceShape& shape = params.shape;
  const uint64_t tiles = (params.chunk.count + kSliceTile - 1) / kSliceTile;
  const uint64_t groups = std::max(1, Facts().multiprocessors / static_cast<int>(shape.slices));
  const dim3 grid(shape.slices, static_cast<unsigned>(std::min(groups, tiles)));
  const LaunchShape launch = {grid, kThreads, shape.shared_bytes};
  if (params.target.head.kind == kSoftpackHeadClamp) {
    operation.Run("adding labels up by slices", SliceKernel<SlicePass::kSums, kUnits>, launch,
                  params);
    const uint64_t blocks = (params.chunk.count * kWarp + kThreads - 1) / kThreads;
    operation.Run("adding partial sums up", ScaleKernel, {static_cast<unsigned>(blocks), kThreads},
                  params);
  }
  operation.Run("writing labels by slices", SliceKernel<SlicePass::kLabels, kUnits>, launch,
                params);
}

}  // namespace

void CudaDecoder::CreateSlices(Operation& operation, const FixedTables& host) {
  // Rounding in several runs, or predictions, are left to rows in L2.
  if (host.runs != 1 || tables_.base_rows > 0) return;
  const SliceShape shape =
      ChooseSlices(tables_.classes, tables_.stages, tables_.levels, Facts().shared_bytes);
  if (shape.units == 0) return;
  const uint64_t units = uint64_t{shape.slices} * shape.rows * shape.units;
  uint4* const sums = Hold<uint4>(operation, sum_slices_, units);
  uint4* const labels = Hold<uint4>(operation, label_slices_, units);
  operation.Clear(sums, 0, units * sizeof(uint4));
  operation.Clear(labels, 0, units * sizeof(uint4));
  const uint64_t stage_rows = tables_.levels * host.columns;
  int16_t* const rows = operation.Take<int16_t>(stage_rows);
  for (uint64_t stage = 0; operation.ok() && stage < tables_.stages; ++stage) {
    operation.CopyIn(rows, host.rows.data() + stage * stage_rows, stage_rows * sizeof(int16_t));
    operation.Run("arranging slices", ArrangeSlicesKernel,
                  {static_cast<unsigned>(tables_.levels), kThreads},
                  {rows, sums, labels, host.columns, tables_.levels, stage, shape});
  }
  slices_ = shape;
  tables_.sum_slices = sums;
  tables_.label_slices = labels;
}

uint64_t CudaDecoder::SliceRows(uint64_t count) const {
  return RoundUpTo(count, kSliceTile) * SliceRowNumbers(slices_);
}

bool CudaDecoder::DecodesBySlices(uint64_t count) const {
  return slices_.units > 0 && count >= kLeastTableLabels && head_.kind != kSoftpackHeadSoftmax;
}

void CudaDecoder::DecodeBySlices(Operation& operation, const LabelChunk& chunk,
                                 const RowTarget& target, const Working& working) const {
  RunRowNumbers(operation, tables_, chunk, slices_, working.rows);
  float* const sums = working.values;
  const SliceParams params = {
      tables_, chunk, target, slices_, sums, sums + chunk.count * kSliceSlots, working.rows};
  switch (slices_.units) {
    case 16:
      return RunPasses<16>(operation, params);
    case 8:
      return RunPasses<8>(operation, params);
    default:
      return RunPasses<4>(operation, params);
  }
}

}  // namespace softpack
