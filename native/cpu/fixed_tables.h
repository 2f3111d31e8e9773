// The tables of kSoftpackMethodFixed in plain order, for backends that lay them out in their own
// way: what fixed_rows.cc builds for itself, entry for entry.
#ifndef SOFTPACK_CPU_FIXED_TABLES_H_
#define SOFTPACK_CPU_FIXED_TABLES_H_

#include "core/backend.h"
#include "cpu/buffer.h"
#include "cpu/kernel_table.h"

namespace softpack {

// v_j of a label is start[j]; then, run after run of stages, with sum the integer sum of the run's
// looked-up entries: v_j = fma(65536 * sum, steps[run][j], v_j).
struct FixedTables {
  uint64_t columns = 0;  // classes, padded
  uint64_t runs = 0;
  Buffer<int16_t> rows;       // [stages, levels, columns]; no sum of a run leaves 16 bits
  Buffer<float> start;        // [columns]
  Buffer<float> steps;        // [runs, columns], times 2^-16
  Buffer<uint32_t> run_ends;  // [runs], the stage after each run's last
};

// Without bases. kSoftpackInvalidArgument where a table is not finite.
int BuildFixedTables(const KernelTable& table, const SoftpackDecoderSpec& spec,
                     FixedTables* tables);

}  // namespace softpack

#endif  // SOFTPACK_CPU_FIXED_TABLES_H_
