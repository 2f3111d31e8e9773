// Where version 2 of tables (table_clusters.cu) keeps a table that the blocks of a cluster hold
// together, and the sums that they exchange: plain functions for host and device, tested on the
// CPU.
#ifndef SOFTPACK_CUDA_TABLE_CLUSTERS_H_
#define SOFTPACK_CUDA_TABLE_CLUSTERS_H_

#include <cstdint>

#include "core/bits.h"

namespace softpack {
namespace clusters {

constexpr uint32_t kBlocks = 8;          // of a cluster, and labels that it makes at a time
constexpr uint32_t kBlockClasses = 128;  // of whose sums a block holds the table's part
constexpr uint32_t kClasses = kBlocks * kBlockClasses;
constexpr uint32_t kRowBytes = kBlockClasses * 2;
constexpr uint32_t kRowUnits = kRowBytes / 16;
constexpr uint32_t kLabelBytes = kClasses * 2;  // of its sums
constexpr uint32_t kWarps = 12;                 // of a block

// The class of an element of a block's row. A lane l of the warp that makes the label has classes
// l, l + 32, l + 64, ... (rows.h), four of them side by side, so that it reads 8 bytes of each
// block's sums.
SOFTPACK_HOST_DEVICE inline uint32_t ClassOf(uint32_t block, uint32_t element) {
  constexpr uint32_t kEach = kBlockClasses / 32;
  return block * kBlockClasses + element % kEach * 32 + element / kEach;
}

// Shared memory of a block, in bytes from its start: the rows of the table first.
struct Plan {
  uint32_t table_bytes;
  uint32_t sums;           // of two labels a warp
  uint32_t indices;        // of two groups of labels a warp
  uint32_t indices_bytes;  // of one group
  uint32_t barriers;       // one for the table, two a warp
  uint32_t bytes;          // 0 if they do not fit
};

inline Plan PlanOf(uint64_t stages, uint64_t levels, uint64_t shared_bytes) {
  constexpr uint64_t kMostRows = 4096;  // whose bytes a barrier can count
  Plan plan = {};
  if (stages > kMostRows || levels > kMostRows || stages * levels >= kMostRows) return plan;
  plan.table_bytes = static_cast<uint32_t>(stages * levels * kRowBytes);
  plan.sums = plan.table_bytes;
  plan.indices = plan.sums + 2 * kWarps * kLabelBytes;
  plan.indices_bytes = static_cast<uint32_t>(kBlocks * stages * 2);
  plan.barriers = plan.indices + 2 * kWarps * plan.indices_bytes;
  const uint32_t bytes = plan.barriers + (1 + 2 * kWarps) * 8;
  plan.bytes = bytes <= shared_bytes ? bytes : 0;
  return plan;
}

}  // namespace clusters
}  // namespace softpack

#endif  // SOFTPACK_CUDA_TABLE_CLUSTERS_H_
