// Version 2 of labels by a fixed-point table in shared memory, for compute capability 9.0 and
// newer. Never run on a device; version 1 (slices.cu) stays the default until a measurement says
// otherwise (table_versions.h).
//
// A cluster holds the table, 8 blocks with 128 classes each or 16 with 64, and passes over labels
// once. A warp of each block, the same one in all, makes as many labels at a time as there are
// blocks: it adds up its classes of all of them, as integers, and sends each label's sums to the
// block of the label's number, whose warp then has one label's sums of all classes. That warp
// applies the head in the CPU's order (rows.h) and writes whole lines. Sums of integers have no
// order, so that nothing else of a label crosses the cluster. Warps wait for bytes (one barrier
// each, two buffers), not for other warps; the next labels are added up before the last ones' sums
// are waited for. Of a table that 16 blocks do not hold, (50, 128), a pass before it leaves the
// sums of the first half of the stages in memory, where each block finds its own again.
//
// Blocks that hold all classes of some stages would have 8 sums of 2 kB a label to exchange, not
// one; blocks that hold whole partial sums of the head (64 of 16 classes each) would exchange 64
// floats a label, but write no more than 32 bytes of a row side by side. 8 blocks and four passes
// at (50, 128) would write and read 12 kB of sums a label.
//
// Counted per label of 1,000 classes and block, in cycles of shared memory at 128 bytes each:
//                                    (100, 64), 8 blocks    (50, 128), 16 blocks
//   rows of the table                20                     20, half of them in each pass
//   their numbers, for four labels   1.3                    2.5
//   sums sent, received and read     6                      3
//   sums kept, and read again                               2
//   shuffles                         0.6                    0.3
//   labels written                   4, or 8                2, or 4
// the latter if a row's 128 bytes in two lines take two; numbers of an odd number of stages take
// twice as much. In all 32 to 36 at (100, 64), 1.14 to 1.28 ns by 16 clusters at 1.755 GHz, where
// version 1 has 51 in its two passes, 1.8 ns; 12 and 18 to 20 at (50, 128), 0.9 and 1.3 to 1.4 ns
// by 8 clusters, where version 1 has 26 by each of 32 blocks, 3.6 ns. Memory: 4 kB (2 kB) of labels
// written, 0.93 ns (0.47 ns) at 4.3 TB/s, in whole sectors where rows begin in one; with two passes
// 2 kB of sums written and read, 1.4 ns (0.93 ns) of the last one; indices from L2, once a block
// and pass. Filling shared memory takes some 4 us a pass of 65,536 labels. With it 745 to 830 M
// labels/s at (100, 64) and 420 M at (50, 128) on an H200; of version 1 520 and 270 M.
//
// Instructions, by their SASS: 46 for two stages of 8 labels and 64 of 16, 364 for a label of
// float32 (510 of halves), 140 besides, 200 with two passes, once for all labels at a time: 90
// (110) a label and block, 23 (28) cycles of the four schedulers beside the above; 75 (85) and 19
// (21) at (50, 128).
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

constexpr unsigned kThreads = kWarps * kWarp;

struct ArrangeParams {
  const int16_t* from;  // [levels, columns] of one stage
  uint4* to;            // [blocks, rows, units]
  uint64_t columns;
  uint64_t first_row;  // of this stage
  uint64_t rows;
  uint32_t blocks;
};

// One block per level, one thread per 16 bytes.
__global__ void ArrangeClustersKernel(ArrangeParams params) {
  const int16_t* const row = params.from + blockIdx.x * params.columns;
  const uint32_t units = RowUnits(params.blocks);
  const uint32_t block = threadIdx.x / units, unit = threadIdx.x % units;
  const auto element = [&](uint32_t e) {
    const uint32_t column = ClassOf(params.blocks, block, unit * 8 + e);
    return column < params.columns ? row[column] : int16_t{0};
  };
  params.to[(block * params.rows + params.first_row + blockIdx.x) * units + unit] = {
      PackPair(element(0), element(1)), PackPair(element(2), element(3)),
      PackPair(element(4), element(5)), PackPair(element(6), element(7))};
}

struct ClusterParams {
  Plan plan;
  const uint4* slices;      // as ArrangeParams::to
  const uint16_t* indices;  // [target.count, stages]
  uint4* partial;           // [target.count rounded up to a group, kLabelUnits]; null of one pass
  const float* start;       // [stride]
  const float* steps;       // [stride]
  uint64_t stride;
  uint32_t stages;
  uint32_t levels;
  uint32_t first_stage;  // of this pass
  uint32_t pass_stages;
  RowTarget target;
};

#ifdef SOFTPACK_CLUSTERS

constexpr int kPairs = kLaneColumns / 2;

// Lanes of a label, in lots of four labels: each lane adds up 16 bytes of one or two parts of a
// row.
constexpr uint32_t kLabelLanes = 8;
constexpr uint32_t kLotLabels = kWarp / kLabelLanes;

template <uint32_t kBlocks>
struct Shape {
  static constexpr uint32_t kUnits = RowUnits(kBlocks);
  static constexpr uint32_t kParts = kUnits / kLabelLanes;
  static constexpr uint32_t kLots = kBlocks / kLotLabels;
};

template <uint32_t kBlocks>
struct Sums {
  uint4 words[Shape<kBlocks>::kLots][Shape<kBlocks>::kParts];
};

// A warp's part of a block's shared memory.
struct Team {
  const uint4* table;
  unsigned char* sums;  // [2, kLabelBytes]
  unsigned char* indices;
  uint64_t* barriers;  // [2]
  uint64_t* table_full;
  unsigned rank;

  __device__ Team(const ClusterParams& params) : rank(ClusterRank()) {
    const Plan& plan = params.plan;
    const uint32_t warp = threadIdx.x / kWarp;
    unsigned char* const shared = SharedMemory<unsigned char>();
    table = reinterpret_cast<const uint4*>(shared);
    sums = shared + plan.sums + warp * 2 * kLabelBytes;
    indices = shared + plan.indices + warp * 2 * plan.indices_bytes;
    table_full = reinterpret_cast<uint64_t*>(shared + plan.barriers);
    barriers = table_full + 1 + warp * 2;
  }
};

__device__ __forceinline__ uint16_t* IndicesAt(const ClusterParams& params, const Team& team,
                                               uint32_t slot) {
  return reinterpret_cast<uint16_t*>(team.indices + slot * params.plan.indices_bytes);
}

// Starts copying the indices of a group's labels; those behind the last label are 0.
template <uint32_t kBlocks>
__device__ __forceinline__ void CopyIndices(const ClusterParams& params, uint64_t group,
                                            uint16_t* to) {
  const uint32_t stages = params.stages, lane = threadIdx.x % kWarp;
  const uint64_t first = group * kBlocks;
  if (first < params.target.count) {
    const uint16_t* const from = params.indices + first * stages;
    const uint64_t left = params.target.count - first;
    if (left >= kBlocks) {
      constexpr uint32_t kPiece = 16 / sizeof(uint16_t);
      static_assert(kBlocks % kPiece == 0, "the indices of a group are whole pieces");
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

// Calls f(words, label of the group, unit of the label's sums) for what this lane adds up.
template <uint32_t kBlocks, class Function>
__device__ __forceinline__ void ForEachPart(const Team& team, Sums<kBlocks>& sums,
                                            const Function& use) {
  using Its = Shape<kBlocks>;
  const uint32_t lane = threadIdx.x % kWarp;
#pragma unroll
  for (uint32_t lot = 0; lot < Its::kLots; ++lot) {
#pragma unroll
    for (uint32_t part = 0; part < Its::kParts; ++part) {
      use(sums.words[lot][part], lot * kLotLabels + lane / kLabelLanes,
          team.rank * Its::kUnits + part * kLabelLanes + lane % kLabelLanes);
    }
  }
}

// Sums of the pass before, or 0.
template <uint32_t kBlocks>
__device__ __forceinline__ void StartSums(const ClusterParams& params, const Team& team,
                                          uint64_t group, Sums<kBlocks>& sums) {
  const bool first = params.first_stage == 0;
  const uint4* const from = params.partial + group * kBlocks * kLabelUnits;
  ForEachPart<kBlocks>(team, sums, [&](uint4& words, uint32_t label, uint32_t unit) {
    words = first ? uint4{0, 0, 0, 0} : from[label * kLabelUnits + unit];
  });
}

// Levels of two stages, by one read where they lie in one word.
template <bool kInWord>
__device__ __forceinline__ void ReadLevels(const uint16_t* levels, uint32_t (&two)[2]) {
  if constexpr (kInWord) {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(levels);
    two[0] = word & 0xffffu;
    two[1] = word >> 16;
  } else {
    two[0] = levels[0];
    two[1] = levels[1];
  }
}

// One lot's labels: the rows of their levels added up, of two stages or of the first; an addition
// has three terms.
template <uint32_t kBlocks, bool kBoth>
__device__ __forceinline__ void AddLevels(const uint4* rows, uint32_t stage_units,
                                          const uint32_t (&levels)[2],
                                          uint4 (&sums)[Shape<kBlocks>::kParts]) {
  using Its = Shape<kBlocks>;
  const uint4* const first = rows + levels[0] * Its::kUnits;
  const uint4* const second = rows + stage_units + levels[1] * Its::kUnits;
#pragma unroll
  for (uint32_t part = 0; part < Its::kParts; ++part) {
    const uint4 a = first[part * kLabelLanes];
    uint4 b = {0, 0, 0, 0};
    if constexpr (kBoth) b = second[part * kLabelLanes];
    sums[part].x += a.x + b.x;
    sums[part].y += a.y + b.y;
    sums[part].z += a.z + b.z;
    sums[part].w += a.w + b.w;
  }
}

template <uint32_t kBlocks, bool kInWord>
__device__ __forceinline__ void AddPairs(const ClusterParams& params, const uint16_t* levels,
                                         const uint4* rows, Sums<kBlocks>& sums) {
  using Its = Shape<kBlocks>;
  const uint32_t stage_units = params.levels * Its::kUnits;
#pragma unroll 1
  for (uint32_t pair = 0; pair < params.pass_stages / 2; ++pair) {
#pragma unroll
    for (uint32_t lot = 0; lot < Its::kLots; ++lot) {
      uint32_t two[2];
      ReadLevels<kInWord>(levels + lot * kLotLabels * params.stages, two);
      AddLevels<kBlocks, true>(rows, stage_units, two, sums.words[lot]);
    }
    levels += 2;
    rows += 2 * stage_units;
  }
}

template <uint32_t kBlocks>
__device__ __forceinline__ void AddRows(const ClusterParams& params, const Team& team,
                                        const uint16_t* indices, Sums<kBlocks>& sums) {
  using Its = Shape<kBlocks>;
  const uint32_t lane = threadIdx.x % kWarp, count = params.pass_stages;
  const uint16_t* const levels = indices + lane / kLabelLanes * params.stages + params.first_stage;
  const uint4* const rows = team.table + lane % kLabelLanes;
  if ((params.stages | params.first_stage) % 2 == 0)
    AddPairs<kBlocks, true>(params, levels, rows, sums);
  else
    AddPairs<kBlocks, false>(params, levels, rows, sums);
  if (count % 2 == 0) return;
#pragma unroll
  for (uint32_t lot = 0; lot < Its::kLots; ++lot) {
    const uint32_t last[2] = {levels[lot * kLotLabels * params.stages + count - 1], 0};
    AddLevels<kBlocks, false>(rows + (count - 1) * params.levels * Its::kUnits, 0, last,
                              sums.words[lot]);
  }
}

// To the pass after.
template <uint32_t kBlocks>
__device__ __forceinline__ void KeepSums(const ClusterParams& params, const Team& team,
                                         uint64_t group, Sums<kBlocks>& sums) {
  uint4* const to = params.partial + group * kBlocks * kLabelUnits;
  ForEachPart<kBlocks>(team, sums, [&](const uint4& words, uint32_t label, uint32_t unit) {
    to[label * kLabelUnits + unit] = words;
  });
}

// To the warp of each label, at this block's place.
template <uint32_t kBlocks>
__device__ __forceinline__ void SendSums(const Team& team, uint32_t slot, Sums<kBlocks>& sums) {
  uint64_t* const barrier = team.barriers + slot;
  uint4* const to = reinterpret_cast<uint4*>(team.sums + slot * kLabelBytes);
  if (threadIdx.x % kWarp == 0) ArriveExpecting(barrier, kLabelBytes);
  ForEachPart<kBlocks>(team, sums, [&](const uint4& words, uint32_t label, uint32_t unit) {
    SendWords(to + unit, words, barrier, label);
  });
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

// Of all blocks, in order of this lane's classes.
template <uint32_t kBlocks>
__device__ __forceinline__ void ReadSums(const Team& team, uint32_t slot,
                                         uint32_t (&words)[kPairs]) {
  const unsigned char* const from = team.sums + slot * kLabelBytes;
  const uint32_t lane = threadIdx.x % kWarp;
#pragma unroll
  for (uint32_t block = 0; block < kBlocks; ++block) {
    const unsigned char* const part = from + block * Shape<kBlocks>::kUnits * 16;
    if constexpr (kPairs / kBlocks == 2) {
      const uint2 two = reinterpret_cast<const uint2*>(part)[lane];
      words[2 * block] = two.x;
      words[2 * block + 1] = two.y;
    } else {
      words[block] = reinterpret_cast<const uint32_t*>(part)[lane];
    }
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
template <uint32_t kBlocks>
__device__ __forceinline__ void Prepare(const ClusterParams& params, const Team& team) {
  constexpr uint32_t kUnits = RowUnits(kBlocks);
  if (threadIdx.x == 0) {
#pragma unroll 1
    for (uint32_t i = 0; i < kBarriers; ++i) InitBarrier(team.table_full + i, 1);
    PublishBarriers();
    const uint64_t first = uint64_t{team.rank} * params.stages + params.first_stage;
    const uint32_t bytes = params.pass_stages * params.levels * kUnits * 16;
    ArriveExpecting(team.table_full, bytes);
    CopyBulk(SharedMemory<unsigned char>(), params.slices + first * params.levels * kUnits, bytes,
             team.table_full);
  }
  ClusterSync();
}

// Of the groups that a warp has in turn.
struct Turns {
  uint64_t group;
  uint64_t groups;
  uint64_t step;

  __device__ Turns(const ClusterParams& params, uint32_t blocks)
      : group(uint64_t{blockIdx.x / blocks} * kWarps + threadIdx.x / kWarp),
        groups((params.target.count + blocks - 1) / blocks),
        step(uint64_t{gridDim.x / blocks} * kWarps) {}
};

// A group's sums, and the next one's indices on their way.
template <uint32_t kBlocks>
__device__ __forceinline__ void SumGroup(const ClusterParams& params, const Team& team,
                                         const Turns& turns, uint32_t slot, Sums<kBlocks>& sums) {
  StartSums<kBlocks>(params, team, turns.group, sums);
  WaitForCopies<0>();
  __syncwarp();
  CopyIndices<kBlocks>(params, turns.group + turns.step, IndicesAt(params, team, slot ^ 1));
  AddRows<kBlocks>(params, team, IndicesAt(params, team, slot), sums);
}

template <uint32_t kBlocks>
__device__ __forceinline__ void FirstPass(const ClusterParams& params, const Team& team,
                                          Turns turns) {
  for (uint32_t slot = 0; turns.group < turns.groups; slot ^= 1, turns.group += turns.step) {
    Sums<kBlocks> sums;
    SumGroup<kBlocks>(params, team, turns, slot, sums);
    KeepSums<kBlocks>(params, team, turns.group, sums);
  }
}

// The sums of one group's labels are on their way while those of the next one are added up. Two
// buffers do: whoever sends to one again has had all sums of the group between, which nobody sends
// before having read this one's.
template <uint32_t kBlocks>
__device__ __forceinline__ void LastPass(const ClusterParams& params, const Team& team,
                                         Turns turns) {
  const Scales scales(params);
  uint64_t before = 0;
  for (uint32_t turn = 0;; ++turn, before = turns.group, turns.group += turns.step) {
    const uint32_t slot = turn % 2;
    const bool more = turns.group < turns.groups;
    Sums<kBlocks> sums;
    if (more) SumGroup<kBlocks>(params, team, turns, slot, sums);
    uint32_t words[kPairs] = {};
    if (turn > 0) {
      AwaitSent(team.barriers + (slot ^ 1), (turn - 1) / 2 % 2);
      ReadSums<kBlocks>(team, slot ^ 1, words);
    }
    __syncwarp();
    if (more) SendSums<kBlocks>(team, slot, sums);
    if (turn > 0) MakeLabel(params, scales, before * kBlocks + team.rank, words);
    if (!more) break;
  }
}

#endif

template <uint32_t kBlocks, bool kLast>
__global__ void __launch_bounds__(kThreads, 1) ClusterTableKernel(ClusterParams params) {
#ifdef SOFTPACK_CLUSTERS
  const Team team(params);
  Prepare<kBlocks>(params, team);
  const Turns turns(params, kBlocks);
  CopyIndices<kBlocks>(params, turns.group, IndicesAt(params, team, 0));
  AwaitPhase(team.table_full, 0);
  if constexpr (kLast)
    LastPass<kBlocks>(params, team, turns);
  else
    FirstPass<kBlocks>(params, team, turns);
  ClusterSync();
#endif
}

using Kernel = void (*)(ClusterParams);

Kernel KernelOf(const Plan& plan, bool last) {
  if (plan.blocks == kFewBlocks) return ClusterTableKernel<kFewBlocks, true>;
  return last ? ClusterTableKernel<kManyBlocks, true> : ClusterTableKernel<kManyBlocks, false>;
}

}  // namespace

uint32_t TableClusters(const Plan& plan) {
  int least = 0;
  for (uint32_t pass = 0; pass < plan.passes; ++pass) {
    const Kernel kernel = KernelOf(plan, pass + 1 == plan.passes);
    int clusters = 0;
    if (AllowMostShared(reinterpret_cast<const void*>(kernel)) != cudaSuccess ||
        (plan.blocks > kMostClusterBlocks &&
         AllowLargeClusters(reinterpret_cast<const void*>(kernel)) != cudaSuccess) ||
        MostClusters(kernel, {plan.blocks, kThreads, plan.bytes, plan.blocks}, &clusters) !=
            cudaSuccess) {
      cudaGetLastError();
      return 0;
    }
    least = pass == 0 || clusters < least ? clusters : least;
  }
  return least > 0 ? static_cast<uint32_t>(least) : 0;
}

void CudaDecoder::CreateClusters(Operation& operation, const FixedTables& host, const Plan& plan) {
  const uint64_t rows = tables_.stages * tables_.levels;
  uint4* const slices = Hold<uint4>(operation, cluster_slices_, rows * kLabelUnits);
  const uint64_t stage_rows = tables_.levels * host.columns;
  int16_t* const from = operation.Take<int16_t>(stage_rows);
  for (uint64_t stage = 0; operation.ok() && stage < tables_.stages; ++stage) {
    operation.CopyIn(from, host.rows.data() + stage * stage_rows, stage_rows * sizeof(int16_t));
    operation.Run("arranging a table for clusters", ArrangeClustersKernel,
                  {static_cast<unsigned>(tables_.levels), kLabelUnits},
                  {from, slices, host.columns, stage * tables_.levels, rows, plan.blocks});
  }
  tables_.cluster_slices = slices;
}

uint64_t CudaDecoder::PartialUnits(uint64_t count) const {
  const Plan plan = PlanOf(tables_.stages, tables_.levels, Facts().shared_bytes);
  return plan.passes > 1 ? RoundUpTo(count, plan.blocks) * kLabelUnits : 0;
}

void RunClusterTables(Operation& operation, const DecoderTables& tables, const LabelChunk& chunk,
                      const RowTarget& target, uint4* partial) {
  const Plan plan = PlanOf(tables.stages, tables.levels, Facts().shared_bytes);
  const uint64_t labels = plan.blocks * kWarps;  // of a cluster at a time
  const uint64_t most = (chunk.count + labels - 1) / labels;
  const unsigned clusters =
      static_cast<unsigned>(most < tables.table_clusters ? most : tables.table_clusters);
  const uint32_t stages = static_cast<uint32_t>(tables.stages);
  for (uint32_t first = 0; first < stages; first += plan.pass_stages) {
    const bool last = first + plan.pass_stages >= stages;
    operation.Run(last ? "decoding by tables of clusters" : "adding labels up by clusters",
                  KernelOf(plan, last), {clusters * plan.blocks, kThreads, plan.bytes, plan.blocks},
                  {plan, tables.cluster_slices, chunk.indices, partial, tables.start, tables.steps,
                   tables.stride, stages, static_cast<uint32_t>(tables.levels), first,
                   last ? stages - first : plan.pass_stages, target});
  }
}

}  // namespace softpack
