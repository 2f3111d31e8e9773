// Which version of tables in shared memory decodes labels of `fixed`: the only place that decides.
//   1  slices of classes, passed over twice (slices.cu): clamp and identity, every device
//   2  a table that a cluster holds together (table_clusters.cu): the same heads, by images for
//      compute capability 9.0 and newer
// Version 2 has never run on a device, so that it is taken where SOFTPACK_CUDA_TABLES=2 asks for
// it, and only where it can; bench/cuda.sh measures both.
#ifndef SOFTPACK_CUDA_TABLE_VERSIONS_H_
#define SOFTPACK_CUDA_TABLE_VERSIONS_H_

#include "cuda/cluster.h"
#include "cuda/decoder.h"
#include "cuda/device.h"
#include "cuda/table_clusters.h"
#include "cuda/wished_version.h"

namespace softpack {

// Labels of a call below which reading a table into shared memory does not pay.
constexpr uint64_t kLeastTableLabels = 2048;

// For a decoder of method `fixed`, when it is created: how version 2 divides its table; no blocks
// for version 1. Rounding in several runs, and predictions, are left to rows in L2, as by
// version 1.
inline clusters::Plan PlanTableVersion(const DecoderTables& tables) {
  const bool fits = tables.classes <= clusters::kClasses && tables.runs == 1 &&
                    tables.base_rows == 0 && Facts().instructions >= kClusterCapability;
  if (WishedVersion("SOFTPACK_CUDA_TABLES") < 2 || !fits) return {};
  return clusters::PlanOf(tables.stages, tables.levels, Facts().shared_bytes);
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_TABLE_VERSIONS_H_
