#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/buffer.h"
#include "cpu/codebook_cells.h"
#include "cpu/operations.h"
#include "cpu/scratch_pool.h"

namespace softpack {
namespace {

constexpr uint64_t kVectorsATask = 384;  // whole rows of every table

int NearestInCells(const Isa& isa, const SoftpackNearestArgs& args) {
  // Enough for a task to notice that cells do not help.
  constexpr uint64_t kVectors = 8 * kVectorsATask;
  CodebookCells cells;
  ScratchPool<CellScratch> pool;
  if (!cells.Create(isa, args.codebook, args.levels, args.width)) return kSoftpackOutOfMemory;
  const uint64_t tasks = (args.count + kVectors - 1) / kVectors;
  return ParallelFor(args.threads, tasks, [&](uint64_t task) -> int {
    const ScratchPool<CellScratch>::Lease lease(pool);
    if (lease.get() == nullptr) return kSoftpackOutOfMemory;
    const uint64_t first = task * kVectors;
    return cells.Find({args.vectors + first * args.width, std::min(kVectors, args.count - first),
                       args.out + first, nullptr, nullptr},
                      lease.get());
  });
}

}  // namespace

int Nearest(const Isa& isa, const SoftpackNearestArgs& args) {
  if (CodebookCells::Suits(isa, args.levels, args.width, args.count)) {
    return NearestInCells(isa, args);
  }
  const KernelTable& table = *isa.kernels;
  Buffer<float> groups(GroupedFloats(table, args.levels, args.width));
  if (!groups) return kSoftpackOutOfMemory;
  table.group_codebook(args.codebook, args.levels, args.width, groups.data());
  const uint64_t tasks = (args.count + kVectorsATask - 1) / kVectorsATask;
  return ParallelFor(args.threads, tasks, [&](uint64_t task) {
    const uint64_t first = task * kVectorsATask;
    const uint64_t count = std::min(kVectorsATask, args.count - first);
    table.nearest(args.vectors + first * args.width, groups.data(), count, args.width, args.levels,
                  args.out + first);
    return kSoftpackOk;
  });
}

}  // namespace softpack
