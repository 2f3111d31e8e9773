#include "cpu/table_rows.h"

#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/stage_rows.h"

namespace softpack {
namespace {

constexpr uint64_t kLine = 64;
// Tables up to this size stay in a last-level cache.
constexpr uint64_t kCachedTable = uint64_t{16} << 20;
// A row's part in one block. Of a cached table four lines, so that a slice of all stages stays in
// L2 (measured at 5 MB with two: batches of 4,096 4 % faster, single labels 35 % slower); of a
// large one two, which come from L2 faster than two single ones (measured: 0.67 and 0.86 ns a
// line).
constexpr uint64_t kWideRow = 4 * kLine;
constexpr uint64_t kNarrowRow = 2 * kLine;
// Bytes of a slice that stay in L2 next to the panel and the indices.
constexpr uint64_t kSlice = uint64_t{704} << 10;
// Bytes of rows on their way to L2.
constexpr uint64_t kAhead = kSlice / 2;
// Labels a chunk, enough to make reading a slice once worth it.
constexpr uint64_t kWideChunk = 1024;
constexpr uint64_t kNarrowChunk = 16384;

}  // namespace

TableShape::TableShape(const SoftpackDecoderSpec& spec, uint64_t element_bytes)
    : stages(spec.stages), levels(spec.levels), columns(PaddedClasses(spec.classes)) {
  const double rows = static_cast<double>(stages) * static_cast<double>(levels);
  const double row_bytes = static_cast<double>(columns * element_bytes);
  cached = rows * row_bytes <= kCachedTable;
  const uint64_t row = cached ? kWideRow : kNarrowRow;
  width = kLine / element_bytes;
  while (2 * width * element_bytes <= row && columns % (2 * width) == 0) width *= 2;
  group = std::max<uint64_t>(1, kSlice / (levels * width * element_bytes));
  group = std::min(group, stages);
  chunk = cached ? kWideChunk : kNarrowChunk;
}

StageGroups TableShape::GroupsFor(uint64_t labels, const StageGroups& groups) const {
  return labels <= levels / 16 ? StageGroups(stages, groups.runs(), stages) : groups;
}

uint64_t TableShape::BlockLabels(uint64_t count, uint64_t threads) const {
  return BlockSize(count, threads, 1, chunk);
}

const uint16_t* GroupIndices(const CodeBlock& block, uint64_t stages, const StageGroups& groups,
                             uint16_t* grouped) {
  if (groups.runs() * groups.groups_a_run() == 1) return block.indices;
  for (uint64_t run = 0; run < groups.runs(); ++run) {
    for (uint64_t g = 0; g < groups.groups_a_run(); ++g) {
      const StageGroup group = groups.Group(run, g);
      const uint16_t* from = block.indices + group.first;
      uint16_t* to = grouped + group.first * block.labels;
      for (uint64_t i = 0; i < block.labels; ++i, from += stages, to += group.stages) {
        for (uint64_t s = 0; s < group.stages; ++s) to[s] = from[s];
      }
    }
  }
  return grouped;
}

RowsAhead::RowsAhead(const TableShape& shape, const StageGroups& groups, const void* rows,
                     uint64_t element_bytes, const uint16_t* indices, uint64_t labels)
    : shape_(shape),
      groups_(groups),
      rows_(static_cast<const char*>(rows)),
      element_bytes_(element_bytes),
      indices_(indices),
      labels_(labels),
      slices_(shape.blocks() * groups.runs() * groups.groups_a_run()) {
  const uint64_t bytes = labels * groups.Group(0, 0).stages * shape.width * element_bytes;
  // From a cache they come as fast without: fetching took half a microsecond a label (measured).
  const bool fetches = bytes > 0 && !shape.cached && !shape.TouchesFirst(labels);
  ahead_ = fetches ? kAhead / bytes : 0;
}

void RowsAhead::Next() {
  if (ahead_ == 0) return;
  const uint64_t end = std::min(++summed_ + ahead_, slices_);
  while (fetched_ < end) Fetch();
}

void RowsAhead::Fetch() {
  const uint64_t slice = fetched_++;
#ifdef __GNUC__
  const uint64_t groups = groups_.runs() * groups_.groups_a_run();
  const uint64_t number = slice % groups;
  const StageGroup group =
      groups_.Group(number / groups_.groups_a_run(), number % groups_.groups_a_run());
  const uint64_t row_bytes = shape_.width * element_bytes_;
  const char* const first = rows_ + shape_.Slice(slice / groups, group.first) * element_bytes_;
  const uint16_t* index = indices_ + group.first * labels_;
  for (uint64_t i = 0; i < labels_; ++i) {
    const char* stage = first;
    for (uint64_t s = 0; s < group.stages; ++s, stage += shape_.stage_stride() * element_bytes_) {
      const char* const row = stage + *index++ * row_bytes;
      for (uint64_t line = 0; line < row_bytes; line += kLine) __builtin_prefetch(row + line, 0, 2);
    }
  }
#else
  (void)slice;
#endif
}

void TouchRows(const void* rows, uint64_t bytes) {
  // Loads: a processor drops prefetches beyond the few that it can have under way (measured instead
  // of loads: a quarter slower at 5 MB, half at 100 MB; between the sums of the slice before: as
  // slow, and 5 to 10 % slower in large tables).
  const char* const from = static_cast<const char*>(rows);
  uint32_t sum = 0;
  for (uint64_t i = 0; i < bytes; i += kLine) sum += static_cast<uint8_t>(from[i]);
  volatile uint32_t sink = sum;
  (void)sink;
}

int BuildBaseRows(const KernelTable& table, const SoftpackDecoderSpec& spec, Buffer<float>* rows) {
  constexpr uint64_t kRowsATask = 1024;
  const uint64_t stride = PaddedClasses(spec.classes);
  if (spec.base_rows > UINT64_MAX / stride || !rows->Allocate(spec.base_rows * stride)) {
    return kSoftpackOutOfMemory;
  }
  const uint64_t tasks = (spec.base_rows + kRowsATask - 1) / kRowsATask;
  return ParallelFor(0, tasks, [&](uint64_t task) {
    const uint64_t first = task * kRowsATask;
    const uint64_t count = std::min(kRowsATask, spec.base_rows - first);
    StageRows computed;
    if (!computed.ComputeBases(table, spec, first, count)) return kSoftpackOutOfMemory;
    std::copy_n(computed.data(), count * stride, rows->data() + first * stride);
    return kSoftpackOk;
  });
}

namespace {

class TableRows : public RowSource {
 public:
  TableRows(const KernelTable& table, const SoftpackDecoderSpec& spec)
      : table_(table), shape_(spec, sizeof(float)), groups_(shape_.stages, 1, shape_.group) {}

  int Create(const SoftpackDecoderSpec& spec) {
    if (shape_.stages > UINT64_MAX / shape_.levels / shape_.columns ||
        !rows_.Allocate(shape_.elements()) || !bias_.Allocate(shape_.columns)) {
      return kSoftpackOutOfMemory;
    }
    std::fill_n(bias_.data(), shape_.columns, 0.0f);
    if (spec.bias != nullptr) std::copy_n(spec.bias, spec.classes, bias_.data());
    if (spec.bases != nullptr) {
      const int status = BuildBaseRows(table_, spec, &base_rows_);
      if (status != kSoftpackOk) return status;
    }
    return ParallelFor(0, shape_.stages, [&](uint64_t stage) { return BuildStage(spec, stage); });
  }

  uint64_t bytes() const override { return rows_.bytes() + bias_.bytes() + base_rows_.bytes(); }
  const float* base_rows() const override { return base_rows_.data(); }
  uint64_t BlockLabels(uint64_t count, uint64_t threads) const override {
    return shape_.BlockLabels(count, threads);
  }

  int Rows(const CodeBlock& block, RowScratch* scratch, RowBlock* rows) const override {
    const uint64_t panel_stride = shape_.PanelStride(block.labels);
    if (!scratch->values.Reserve(shape_.blocks() * panel_stride) ||
        !scratch->grouped.Reserve(block.labels * shape_.stages)) {
      return kSoftpackOutOfMemory;
    }
    const StageGroups groups = shape_.GroupsFor(block.labels, groups_);
    const uint16_t* const grouped =
        GroupIndices(block, shape_.stages, groups, scratch->grouped.data());
    RowsAhead ahead(shape_, groups, rows_.data(), sizeof(float), grouped, block.labels);
    for (uint64_t b = 0; b < shape_.blocks(); ++b) {
      float* const panel = scratch->values.data() + b * panel_stride;
      for (uint64_t g = 0; g < groups.groups_a_run(); ++g) {
        const StageGroup group = groups.Group(0, g);
        const float* const slice = rows_.data() + shape_.Slice(b, group.first);
        ahead.Next();
        if (shape_.TouchesFirst(block.labels)) {
          TouchRows(slice, group.stages * shape_.stage_stride() * sizeof(float));
        }
        const float* const start = group.first == 0 ? bias_.data() + b * shape_.width : nullptr;
        table_.sum_float_rows({slice, shape_.stage_stride(), static_cast<uint32_t>(shape_.width),
                               grouped + group.first * block.labels, group.stages, group.stages,
                               block.labels, start, panel});
      }
    }
    const uint32_t width = static_cast<uint32_t>(shape_.width);
    *rows = {{scratch->values.data(), nullptr, nullptr, nullptr, width, panel_stride}, width};
    return kSoftpackOk;
  }

 private:
  int BuildStage(const SoftpackDecoderSpec& spec, uint64_t stage) {
    StageRows computed;
    if (!computed.Compute(table_, spec, stage)) return kSoftpackOutOfMemory;
    for (uint64_t b = 0; b < shape_.blocks(); ++b) {
      float* to = rows_.data() + shape_.Slice(b, stage);
      const float* from = computed.data() + b * shape_.width;
      for (uint64_t level = 0; level < shape_.levels; ++level) {
        std::copy_n(from + level * shape_.columns, shape_.width, to + level * shape_.width);
      }
    }
    return kSoftpackOk;
  }

  const KernelTable& table_;
  const TableShape shape_;
  const StageGroups groups_;
  Buffer<float> bias_;
  Buffer<float> rows_;
  Buffer<float> base_rows_;
};

}  // namespace

int CreateTableRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                    std::unique_ptr<RowSource>* source) {
  return CreateRows<TableRows>(spec, source, table, spec);
}

}  // namespace softpack
