// Version 2 of labels by a fixed-point table in shared memory, for compute capability 9.0 and
// newer. Never run on a device; version 1 (slices.cu) stays the default until a measurement says
// otherwise (table_versions.h).
//
// A cluster of 8 blocks holds the whole table, 128 classes a block, and passes over labels once. A
// warp of each block, the same one in all, makes 8 labels at a time: it adds up its classes of all
// 8, as integers, and sends each label's sums to the block of the label's number, whose warp then
// has one label's sums of all classes. That warp applies the head as for rows from L2 (rows.h), in
// the CPU's order, and writes whole lines. Sums of integers have no order, so that nothing else of
// a label crosses the cluster. Warps wait for bytes (one barrier each, two buffers), not for other
// warps; the next 8 labels are added up before the last ones' sums are waited for.
//
// Blocks that hold all classes of some stages would have 8 sums of 2 kB a label to exchange, not
// one; blocks that hold whole partial sums of the head (64 of 16 classes each) would exchange 64
// floats a label, but write no more than 32 bytes of a row side by side.
//
// Counted per label of 1,000 classes and block of a cluster, in cycles of shared memory at 128
// bytes each: 20 of table rows at 10 stages; 2.5 of their numbers, read for four labels at a time;
// 6 of sums sent, received and read; 0.6 of shuffles; 4 of labels written, 8 if a row's 128 bytes
// in two lines take two. 33 to 37 in all: 1.2 to 1.3 ns by 16 clusters at 1.755 GHz, 760 to 850 M
// labels/s on an H200, where version 1 has 51 in its two passes. Instructions: 90 (110 for halves),
// by their SASS: 42 for two stages of 8 labels; 364 for a label of float32; 140 besides, once in 8
// labels. 22 to 27 cycles of the four schedulers, beside the above. Memory: 4 kB (2 kB) of labels
// written, 0.93 ns (0.47 ns) at 4.3 TB/s, in whole sectors where rows begin in one; 20 bytes of
// indices, 8 times from L2. Filling shared memory takes some 4 us a chunk.
#include "cuda/table_clusters.h"

#include "cpu/fixed_tables.h"
#include "cuda/hopper.h"
#include "cuda/layout.h"
#include "cuda/rows.h"
#include "cuda/table_versions.h"
#include "cuda/tensor_core.h"

namespace softpack {
namespace {

using namespace clusters;

constexpr unsigned kArrangeThreads = 128;
constexpr unsigned kThreads = kWarps * kWarp;
struct ArrangeParams {
  const int16_t* from;  // [levels, columns] of one stage
  uint4* to;            // [kBlocks, rows, kRowUnits]
  uint64_t columns;
  uint64_t levels;
  uint64_t first_row;  // of this stage
  uint64_t rows;
};

// One block per level, one thread per 16 bytes.
__global__ void ArrangeClustersKernel(ArrangeParams params) {
  const int16_t* const row = params.from + blockIdx.x * params.columns;
  const uint32_t block = threadIdx.x / kRowUnits, unit = threadIdx.x % kRowUnits;
  const auto element = [&](uint32_t e) {
    const uint32_t column = ClassOf(block, unit * 8 + e);
    return column < params.columns ? row[column] : int16_t{0};
  };
  params.to[(block * params.rows + params.first_row + blockIdx.x) * kRowUnits + unit] = {
      PackPair(element(0), element(1)), PackPair(element(2), element(3)),
      PackPair(element(4), element(5)), PackPair(element(6), element(7))};
}

struct ClusterParams {
  Plan plan;
  const uint4* slices;      // as ArrangeParams::to
  const uint16_t* indices;  // [target.count, stages]
  const float* start;       // [stride]
  const float* steps;       // [stride]
  uint64_t stride;
  uint32_t stages;
  uint32_t levels;
  RowTarget target;
};

#ifdef SOFTPACK_CLUSTERS

constexpr int kPairs = kLaneColumns / 2;

// A warp's part of a block's shared memory.
struct Team {
  const uint4* table;
  unsigned char* sums;  // [2, kLabelBytes]
  uint16_t* indices;    // [2, kBlocks, stages]
  uint64_t* barriers;   // [2]
  uint64_t* table_full;
  unsigned rank;

  __device__ Team(const ClusterParams& params) : rank(ClusterRank()) {
    const Plan& plan = params.plan;
    const uint32_t warp = threadIdx.x / kWarp;
    unsigned char* const shared = SharedMemory<unsigned char>();
    table = reinterpret_cast<const uint4*>(shared);
    sums = shared + plan.sums + warp * 2 * kLabelBytes;
    indices = reinterpret_cast<uint16_t*>(shared + plan.indices + warp * 2 * plan.indices_bytes);
    table_full = reinterpret_cast<uint64_t*>(shared + plan.barriers);
    barriers = table_full + 1 + warp * 2;
  }
};

__device__ __forceinline__ uint16_t* IndicesAt(const ClusterParams& params, const Team& team,
                                               uint32_t slot) {
  return team.indices + slot * kBlocks * params.stages;
}

// Starts copying the indices of 8 labels; those behind the last label are 0.
__device__ __forceinline__ void CopyIndices(const ClusterParams& params, uint64_t group,
                                            uint16_t* to) {
  const uint32_t stages = params.stages, lane = threadIdx.x % kWarp;
  const uint64_t first = group * kBlocks;
  if (first < params.target.count) {
    const uint16_t* const from = params.indices + first * stages;
    const uint64_t left = params.target.count - first;
    if (left >= kBlocks) {
      constexpr uint32_t kPiece = 16 / sizeof(uint16_t);
      static_assert(kBlocks == kPiece, "the indices of all labels of a group are whole pieces");
#pragma unroll 1
      for (uint32_t at = lane * kPiece; at < kBlocks * stages; at += kWarp * kPiece) {
        CopyAsync16(to + at, from + at);
      }
    } else {
#pragma unroll 1
      for (uint32_t at = lane; at < kBlocks * stages; at += kWarp) {
        to[at] = at < left * stages ? from[at] : uint16_t{0};
      }
    }
  }
  CommitCopies();
}

// Lanes of a label, in two lots of four: each lane adds up 16 of a block's classes.
constexpr uint32_t kLabelLanes = 8;
constexpr uint32_t kLots = kBlocks * kLabelLanes / kWarp;
constexpr uint32_t kParts = kRowUnits / kLabelLanes;

struct Sums {
  uint4 words[kLots][kParts];
};

__device__ __forceinline__ void AddRows(const ClusterParams& params, const Team& team,
                                        const uint16_t* indices, Sums& sums) {
  const uint32_t lane = threadIdx.x % kWarp, stages = params.stages;
  const uint16_t* const own = indices + lane / kLabelLanes * stages;
  const uint4* rows = team.table + lane % kLabelLanes;
#pragma unroll
  for (uint32_t lot = 0; lot < kLots; ++lot) {
#pragma unroll
    for (uint32_t part = 0; part < kParts; ++part) sums.words[lot][part] = {0, 0, 0, 0};
  }
#pragma unroll 2
  for (uint32_t stage = 0; stage < stages; ++stage) {
#pragma unroll
    for (uint32_t lot = 0; lot < kLots; ++lot) {
      const uint32_t level = own[lot * (kWarp / kLabelLanes) * stages + stage];
      const uint4* const row = rows + level * kRowUnits;
#pragma unroll
      for (uint32_t part = 0; part < kParts; ++part) {
        const uint4 words = row[part * kLabelLanes];
        uint4& sum = sums.words[lot][part];
        sum.x += words.x;
        sum.y += words.y;
        sum.z += words.z;
        sum.w += words.w;
      }
    }
    rows += params.levels * kRowUnits;
  }
}

// To the warp of each label, at this block's place.
__device__ __forceinline__ void SendSums(const Team& team, uint32_t buffer, const Sums& sums) {
  const uint32_t lane = threadIdx.x % kWarp;
  uint64_t* const barrier = team.barriers + buffer;
  uint4* const to = reinterpret_cast<uint4*>(team.sums + buffer * kLabelBytes) +
                    team.rank * kRowUnits + lane % kLabelLanes;
  if (lane == 0) ArriveExpecting(barrier, kLabelBytes);
#pragma unroll
  for (uint32_t lot = 0; lot < kLots; ++lot) {
    const uint32_t label = lot * (kWarp / kLabelLanes) + lane / kLabelLanes;
#pragma unroll
    for (uint32_t part = 0; part < kParts; ++part) {
      SendWords(to + part * kLabelLanes, sums.words[lot][part], barrier, label);
    }
  }
}

// This lane's classes.
struct Scales {
  float start[kLaneColumns];
  float step[kLaneColumns];
  int classes;

  __device__ Scales(const ClusterParams& params) {
    const uint32_t lane = threadIdx.x % kWarp;
    classes =
        (static_cast<int>(params.target.classes) - static_cast<int>(lane) + kWarp - 1) / kWarp;
#pragma unroll
    for (int t = 0; t < kLaneColumns; ++t) {
      const uint32_t column = t * kWarp + lane;
      start[t] = column < params.stride ? params.start[column] : 0.0f;
      // Exact, and spares a multiplication of each sum.
      step[t] = column < params.stride ? params.steps[column] * 65536.0f : 0.0f;
    }
  }
};

__device__ __forceinline__ void ReadSums(const Team& team, uint32_t buffer,
                                         uint32_t (&words)[kPairs]) {
  const uint2* const from =
      reinterpret_cast<const uint2*>(team.sums + buffer * kLabelBytes) + threadIdx.x % kWarp;
#pragma unroll
  for (uint32_t block = 0; block < kBlocks; ++block) {
    const uint2 two = from[block * (kRowBytes / sizeof(uint2))];
    words[2 * block] = two.x;
    words[2 * block + 1] = two.y;
  }
}

// The head, in the order of ClassSum (rows.h), and one label written.
__device__ __forceinline__ void MakeLabel(const ClusterParams& params, const Scales& scales,
                                          uint64_t label, const uint32_t (&words)[kPairs]) {
  const RowTarget& target = params.target;
  if (label >= target.count) return;
  const bool clamp = target.head.kind == kSoftpackHeadClamp;
  const float least = clamp ? target.head.parameter : -Infinity();
  float row[kLaneColumns];
  ClassSum sum;
#pragma unroll
  for (int t = 0; t < kLaneColumns; ++t) {
    const int32_t own = t % 2 == 0 ? LowSum(words[t / 2]) : HighSum(words[t / 2]);
    const float v = fmaf(static_cast<float>(own), scales.step[t], scales.start[t]);
    // As Greater, in one instruction: no value is NaN.
    row[t] = fmaxf(least, v);
    if (t < scales.classes) sum.Add(t, row[t]);
  }
  const float scale = clamp ? 1.0f / sum.Total() : 1.0f;
  WithElement(target.out_type, [&](auto element) {
    using Type = typename decltype(element)::Type;
    Type* const out = static_cast<Type*>(target.out) + label * target.classes + threadIdx.x % kWarp;
#pragma unroll
    for (int t = 0; t < kLaneColumns; t += 2) {
      const float low = row[t] * scale, high = row[t + 1] * scale;
      Type two[2];
      if constexpr (sizeof(Type) == 2) {
        const uint32_t pair = element.Pair(low, high);
        two[0] = static_cast<Type>(pair & 0xffffu);
        two[1] = static_cast<Type>(pair >> 16);
      } else {
        two[0] = low;
        two[1] = high;
      }
      if (t < scales.classes) out[t * kWarp] = two[0];
      if (t + 1 < scales.classes) out[(t + 1) * kWarp] = two[1];
    }
  });
}

// Barriers, and the table's part on its way.
__device__ __forceinline__ void Prepare(const ClusterParams& params, const Team& team) {
  if (threadIdx.x == 0) {
    InitBarrier(team.table_full, 1);
#pragma unroll 1
    for (uint32_t i = 0; i < 2 * kWarps; ++i) InitBarrier(team.barriers + i, 1);
    PublishBarriers();
    ArriveExpecting(team.table_full, params.plan.table_bytes);
    CopyBulk(SharedMemory<unsigned char>(),
             params.slices + uint64_t{team.rank} * (params.plan.table_bytes / 16),
             params.plan.table_bytes, team.table_full);
  }
  ClusterSync();
}

#endif

__global__ void __launch_bounds__(kThreads, 1) ClusterTableKernel(ClusterParams params) {
#ifdef SOFTPACK_CLUSTERS
  const Team team(params);
  Prepare(params, team);
  const Scales scales(params);
  const uint64_t groups = (params.target.count + kBlocks - 1) / kBlocks;
  const uint64_t step = uint64_t{gridDim.x / kBlocks} * kWarps;
  uint64_t group = uint64_t{blockIdx.x / kBlocks} * kWarps + threadIdx.x / kWarp;
  CopyIndices(params, group, team.indices);
  AwaitPhase(team.table_full, 0);
  uint64_t before = 0;
  // The sums of one group's labels are on their way while those of the next one are added up. Two
  // buffers do: whoever sends to one again has had all sums of the group between, which nobody
  // sends before having read this one's.
  for (uint32_t turn = 0;; ++turn, before = group, group += step) {
    const uint32_t slot = turn % 2;
    const bool more = group < groups;
    Sums sums;
    if (more) {
      WaitForCopies<0>();
      __syncwarp();
      CopyIndices(params, group + step, IndicesAt(params, team, slot ^ 1));
      AddRows(params, team, IndicesAt(params, team, slot), sums);
    }
    uint32_t words[kPairs] = {};
    if (turn > 0) {
      AwaitSent(team.barriers + (slot ^ 1), (turn - 1) / 2 % 2);
      ReadSums(team, slot ^ 1, words);
    }
    __syncwarp();
    if (more) SendSums(team, slot, sums);
    if (turn > 0) MakeLabel(params, scales, before * kBlocks + team.rank, words);
    if (!more) break;
  }
  ClusterSync();
#endif
}

}  // namespace

void CudaDecoder::CreateClusters(Operation& operation, const FixedTables& host) {
  const uint64_t rows = tables_.stages * tables_.levels;
  uint4* const slices = Hold<uint4>(operation, cluster_slices_, kBlocks * rows * kRowUnits);
  const uint64_t stage_rows = tables_.levels * host.columns;
  int16_t* const from = operation.Take<int16_t>(stage_rows);
  for (uint64_t stage = 0; operation.ok() && stage < tables_.stages; ++stage) {
    operation.CopyIn(from, host.rows.data() + stage * stage_rows, stage_rows * sizeof(int16_t));
    operation.Run("arranging a table for clusters", ArrangeClustersKernel,
                  {static_cast<unsigned>(tables_.levels), kArrangeThreads},
                  {from, slices, host.columns, tables_.levels, stage * tables_.levels, rows});
  }
  tables_.cluster_slices = slices;
  if (!operation.ok()) return;
  operation.Check(AllowMostShared(reinterpret_cast<const void*>(ClusterTableKernel)),
                  "asking for shared memory");
  const Plan plan = PlanOf(tables_.stages, tables_.levels, Facts().shared_bytes);
  int clusters = 0;
  operation.Check(
      MostClusters(ClusterTableKernel, {kBlocks, kThreads, plan.bytes, kBlocks}, &clusters),
      "counting clusters");
  tables_.table_clusters = clusters > 0 ? static_cast<uint32_t>(clusters) : 1;
}

void RunClusterTables(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                      const RowTarget& target) {
  const Plan plan = PlanOf(tables.stages, tables.levels, Facts().shared_bytes);
  constexpr uint64_t kLabels = kBlocks * kWarps;  // of a cluster at a time
  const uint64_t most = (chunk.count + kLabels - 1) / kLabels;
  const unsigned clusters =
      static_cast<unsigned>(most < tables.table_clusters ? most : tables.table_clusters);
  operation.Run(
      "decoding by tables of clusters", ClusterTableKernel,
      {clusters * kBlocks, kThreads, plan.bytes, kBlocks},
      {plan, tables.cluster_slices, chunk.indices, tables.start, tables.steps, tables.stride,
       static_cast<uint32_t>(tables.stages), static_cast<uint32_t>(tables.levels), target});
}

}  // namespace softpack
