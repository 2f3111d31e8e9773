#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/buffer.h"
#include "cpu/operations.h"

namespace softpack {

int Nearest(const KernelTable& table, const SoftpackNearestArgs& args) {
  constexpr uint64_t kVectorsATask = 384;  // whole rows of every table
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
