// Rows by tables: every stage looks up a row of `classes` and the rows are added up. No product is
// left, stages * classes additions a label, bound by how fast the rows come from where they lie.
//
// Layout: [block][stage][level][width], `width` columns a block. Only a slice is at work at a time,
// the rows of a block for a group of stages: the loop runs over blocks, groups and then the labels
// of a chunk, whose partial sums stand in a panel [block][label][width]. Each slice is read once a
// chunk, in order, and its random reads then hit L2. A table that a last-level cache holds has
// wider blocks, of all stages where they fit: it is in memory all the same where images or a
// training step came between two calls, and random rows come from there at a third of the speed.
#ifndef SOFTPACK_CPU_TABLE_ROWS_H_
#define SOFTPACK_CPU_TABLE_ROWS_H_

#include "cpu/row_source.h"

namespace softpack {

// Consecutive stages.
struct StageGroup {
  uint64_t first;
  uint64_t stages;
};

// All stages in `runs` runs, each run in groups of at most `most`, as even as possible.
class StageGroups {
 public:
  StageGroups(uint64_t stages, uint64_t runs, uint64_t most)
      : stages_(stages), runs_(runs), groups_a_run_((Run(0).stages + most - 1) / most) {}

  uint64_t runs() const { return runs_; }
  uint64_t groups_a_run() const { return groups_a_run_; }
  StageGroup Run(uint64_t run) const { return Part({0, stages_}, run, runs_); }
  StageGroup Group(uint64_t run, uint64_t group) const {
    return Part(Run(run), group, groups_a_run_);
  }

 private:
  // The first part is the largest.
  static StageGroup Part(const StageGroup& whole, uint64_t part, uint64_t parts) {
    const auto end = [&](uint64_t i) { return (whole.stages * i + parts - 1) / parts; };
    return {whole.first + end(part), end(part + 1) - end(part)};
  }

  uint64_t stages_;
  uint64_t runs_;
  uint64_t groups_a_run_;
};

// Shape of a table, the same on every machine.
struct TableShape {
  uint64_t stages;
  uint64_t levels;
  uint64_t columns;  // padded classes
  bool cached;       // stays in a last-level cache
  uint64_t width;    // columns a block
  uint64_t group;    // stages a group at most
  uint64_t chunk;    // labels at most

  TableShape(const SoftpackDecoderSpec& spec, uint64_t element_bytes);

  uint64_t blocks() const { return columns / width; }
  uint64_t elements() const { return stages * levels * columns; }
  uint64_t stage_stride() const { return levels * width; }
  // First element of the rows of `stage` in `block`.
  uint64_t Slice(uint64_t block, uint64_t stage) const {
    return (block * stages + stage) * stage_stride();
  }
  // Elements from one block of a panel to the next: an odd number of lines, so that the blocks of
  // one label do not all fall into the same set of a cache.
  uint64_t PanelStride(uint64_t labels) const { return (labels | 1) * width; }
  uint64_t BlockLabels(uint64_t count, uint64_t threads) const;
  // `groups`; or the runs alone, whole, where the labels are too few to find each other's rows in
  // L2: a sum then stays in registers over all stages.
  StageGroups GroupsFor(uint64_t labels, const StageGroups& groups) const;
  // Whether enough labels use the rows of a slice for it to pay to read it whole first.
  bool TouchesFirst(uint64_t labels) const {
    return labels >= (group < stages ? levels / 2 : 2 * levels);
  }
};

// Indices [labels, stages] to [group][labels, stages of the group]: what one pass reads lies side
// by side. The indices of a group start at its first stage times labels.
// `grouped` is left alone where there is one group only.
const uint16_t* GroupIndices(const CodeBlock& block, uint64_t stages, const StageGroups& groups,
                             uint16_t* grouped);

// Has the rows that labels look up come to L2 some slices before they are summed, from tables that
// no cache holds, where no slice is read whole: all rows of one label are under way at once then.
// Sums that wait for their rows in order took twice as long (measured, one label and tables of 40
// and 100 MB: AMD EPYC 25-17, 2026-11-30).
class RowsAhead {
 public:
  // `indices` as GroupIndices gives them.
  RowsAhead(const TableShape& shape, const StageGroups& groups, const void* rows,
            uint64_t element_bytes, const uint16_t* indices, uint64_t labels);
  // To be called before each slice is summed, over blocks and then over runs and groups.
  void Next();

 private:
  // Of slice `fetched_`. Counts by itself: calls without any effect but on caches are left out.
  void Fetch();

  const TableShape& shape_;
  const StageGroups& groups_;
  const char* const rows_;
  const uint64_t element_bytes_;
  const uint16_t* const indices_;
  const uint64_t labels_;
  const uint64_t slices_;
  uint64_t ahead_;  // slices
  uint64_t fetched_ = 0;
  uint64_t summed_ = 0;
};

// Reads rows that many labels are about to use, in order: a cache line a random first touch costs
// three to four times as much.
void TouchRows(const void* rows, uint64_t bytes);

// [base_rows, padded classes]: base vectors times the basis.
int BuildBaseRows(const KernelTable& table, const SoftpackDecoderSpec& spec, Buffer<float>* rows);

}  // namespace softpack

#endif  // SOFTPACK_CPU_TABLE_ROWS_H_
