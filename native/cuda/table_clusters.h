// Where version 2 of tables (table_clusters.cu) keeps a table that the blocks of a cluster hold
// together, and the sums that they exchange: plain functions for host and device, tested on the
// CPU.
#ifndef SOFTPACK_CUDA_TABLE_CLUSTERS_H_
#define SOFTPACK_CUDA_TABLE_CLUSTERS_H_

#include <cstdint>

#include "core/bits.h"

namespace softpack {
namespace clusters {

constexpr uint32_t kClasses = 1024;             // padded
constexpr uint32_t kLabelBytes = kClasses * 2;  // of a label's sums
constexpr uint32_t kLabelUnits = kLabelBytes / 16;
constexpr uint32_t kWarps = 12;  // of a block
constexpr uint32_t kFewBlocks = 8;
constexpr uint32_t kManyBlocks = 16;  // more than every device with clusters runs as one

// Units of 16 bytes in a row of the table in a block: its 128 or 64 adjacent classes.
SOFTPACK_HOST_DEVICE constexpr uint32_t RowUnits(uint32_t blocks) { return kLabelUnits / blocks; }

// The class of an element of a block's row. Lane l of the warp that makes the label has classes l,
// l + 32, l + 64, ... (rows.h), those of a block side by side.
SOFTPACK_HOST_DEVICE inline uint32_t ClassOf(uint32_t blocks, uint32_t block, uint32_t element) {
  const uint32_t classes = kClasses / blocks, each = classes / 32;
  return block * classes + element % each * 32 + element / each;
}

// How a table is divided, and a block's shared memory, in bytes from its start: the rows of a pass
// first.
struct Plan {
  uint32_t blocks;         // of a cluster, and labels that it makes at a time; 0 if no way fits
  uint32_t passes;         // over labels: 2 if only half of the stages fit
  uint32_t pass_stages;    // of the first pass
  uint32_t sums;           // of two labels a warp
  uint32_t indices;        // of two groups of labels a warp
  uint32_t indices_bytes;  // of one group
  uint32_t barriers;       // one for the table, two a warp
  uint32_t bytes;
};

constexpr uint32_t kBarriers = 1 + 2 * kWarps;

inline Plan PlanOf(uint64_t stages, uint64_t levels, uint64_t shared_bytes) {
  constexpr uint64_t kMostRows = 4096;
  if (stages > kMostRows || levels > kMostRows || stages * levels > kMostRows) return {};
  struct Way {
    uint32_t blocks, passes;
  };
  constexpr Way kWays[] = {{kFewBlocks, 1}, {kManyBlocks, 1}, {kManyBlocks, 2}};
  for (const Way& way : kWays) {
    Plan plan = {};
    plan.blocks = way.blocks;
    plan.passes = way.passes;
    plan.pass_stages = static_cast<uint32_t>((stages + way.passes - 1) / way.passes);
    plan.sums = static_cast<uint32_t>(plan.pass_stages * levels) * RowUnits(way.blocks) * 16;
    plan.indices = plan.sums + 2 * kWarps * kLabelBytes;
    plan.indices_bytes = static_cast<uint32_t>(way.blocks * stages * 2);
    plan.barriers = plan.indices + 2 * kWarps * plan.indices_bytes;
    plan.bytes = plan.barriers + kBarriers * 8;
    if (plan.bytes <= shared_bytes) return plan;
  }
  return {};
}

}  // namespace clusters
}  // namespace softpack

#endif  // SOFTPACK_CUDA_TABLE_CLUSTERS_H_
