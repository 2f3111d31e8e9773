#include "core/quantiser.h"

#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/buffer.h"
#include "cpu/kernel_table.h"

namespace softpack {
namespace {

// Labels, or rows of logits, that a thread takes at a time.
constexpr uint64_t kLabelsPerTask = 256;
// Labels that are walked at a time: their values stay in L1 until they are turned around.
constexpr uint64_t kWalkedLabels = 64;

// run(first, count) for all of `total`, in parts.
template <class Run>
int ForEachPart(uint64_t total, uint32_t threads, const Run& run) {
  const uint64_t tasks = (total + kLabelsPerTask - 1) / kLabelsPerTask;
  return ParallelFor(threads, tasks, [&](uint64_t task) {
    const uint64_t first = task * kLabelsPerTask;
    return run(first, std::min(kLabelsPerTask, total - first));
  });
}

// Values of labels [first, first + count), at most kWalkedLabels. `values` holds rank *
// kWalkedLabels.
void DequantiseLabels(const KernelTable& table, const DequantiseArgs& args,
                      const RansTrellis* trellis, uint64_t first, uint64_t count, float* values) {
  uint8_t states[kWalkedLabels] = {};
  uint8_t contexts[kWalkedLabels] = {};
  for (uint64_t j = 0; j < args.rank; ++j) {
    const int16_t* const indices = args.indices + j * args.labels + first;
    const float shift = static_cast<float>(args.shifts[j] / kShiftUnit);
    float* const own = values + j * kWalkedLabels;
    table.dequantise(indices, trellis == nullptr ? nullptr : contexts, count, shift, args.unit,
                     own);
    if (trellis != nullptr) table.advance_trellis(*trellis, indices, count, states, contexts);
  }
  for (uint64_t i = 0; i < count; ++i) {
    float* const out = args.out + (first + i) * args.rank;
    for (uint64_t j = 0; j < args.rank; ++j) out[j] = values[j * kWalkedLabels + i];
  }
}

}  // namespace

int Centre(const KernelTable& table, const CentreArgs& args) {
  return ForEachPart(args.rows, args.threads, [&](uint64_t first, uint64_t rows) {
    const uint64_t at = first * args.classes;
    table.centre_rows(args.logits + at, rows, args.classes, args.depth, args.mean, args.out + at);
    return int{kSoftpackOk};
  });
}

int Quantise(const KernelTable& table, const QuantiseArgs& args) {
  if (RansTrellisOf(args.trellis) == nullptr) return kSoftpackInvalidArgument;
  const TrellisSearch search{args.shifts, args.costs, args.rank, args.unit, args.trellis};
  return ForEachPart(args.labels, args.threads, [&](uint64_t first, uint64_t labels) {
    Buffer<float> quotients(kSearchLanes * args.rank);
    Buffer<int32_t> indices(kSearchIndices * kSearchLanes * args.rank);
    Buffer<uint8_t> ways(kSearchStates * args.rank);
    if (!quotients || !indices || !ways) return int{kSoftpackOutOfMemory};
    const SearchScratch scratch{quotients.data(), indices.data(), ways.data()};
    const uint64_t at = first * args.rank;
    table.search_trellis(search, scratch, args.values + at, labels, args.out + at);
    return int{kSoftpackOk};
  });
}

int Dequantise(const KernelTable& table, const DequantiseArgs& args) {
  const RansTrellis* const trellis = RansTrellisOf(args.trellis);
  if (args.trellis != 1 && trellis == nullptr) return kSoftpackInvalidArgument;
  return ForEachPart(args.labels, args.threads, [&](uint64_t first, uint64_t labels) {
    Buffer<float> values(kWalkedLabels * args.rank);
    if (!values) return int{kSoftpackOutOfMemory};
    for (uint64_t i = 0; i < labels; i += kWalkedLabels) {
      const uint64_t count = std::min(kWalkedLabels, labels - i);
      DequantiseLabels(table, args, trellis, first + i, count, values.data());
    }
    return int{kSoftpackOk};
  });
}

}  // namespace softpack
