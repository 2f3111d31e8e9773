// Rows by tables of 16-bit fixed point: half the bytes of float32 tables, 32 columns per addition.
//
// In each stage and class the table row is centred between its extremes, so that what is stored
// lies within +- half its range. The steps of a run of stages are such that even the largest sum of
// a class fits 16 bits: no sum ever wraps, whatever the codes, and integer sums have no order. With
// e(s, j) what is stored of stage s:
//   v_j = start_j + step_j * sum_s e(s, j)      one run
// Rounding each entry costs step * sqrt(stages / 12) in the mean. If that is too much for many
// stages, they are cut into runs, each with its own finer steps, added up in float32.
#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "cpu/fixed_tables.h"
#include "cpu/stage_rows.h"
#include "cpu/table_rows.h"

namespace softpack {
namespace {

// Mean error of v that one run may have, relative to v for clamp and identity and to tau for
// softmax: a quarter of what `fast` promises for a label.
constexpr double kRunError = 5e-4;
// A run is not cut below this many stages.
constexpr uint64_t kLeastRun = 8;
// Steps below it would leave the range of normal floats; as an absolute error it is nothing.
constexpr double kLeastStep = 1e-30;

class FixedRows : public RowSource {
 public:
  FixedRows(const KernelTable& table, const SoftpackDecoderSpec& spec)
      : table_(table), shape_(spec, sizeof(int16_t)), groups_(shape_.stages, 1, shape_.group) {}

  int Create(const SoftpackDecoderSpec& spec) {
    if (shape_.stages > UINT64_MAX / shape_.levels / shape_.columns ||
        !rows_.Allocate(shape_.elements()) || !start_.Allocate(shape_.columns) ||
        !zeros_.Allocate(shape_.width)) {
      return kSoftpackOutOfMemory;
    }
    std::fill_n(zeros_.data(), shape_.width, int16_t{0});
    Ranges ranges;
    int status = FindRanges(spec, &ranges);
    if (status != kSoftpackOk) return status;
    if (!SetStart(spec, ranges)) return kSoftpackInvalidArgument;
    ChooseRuns(spec, ranges);
    if (!SetSteps(ranges)) return kSoftpackOutOfMemory;
    if (spec.bases != nullptr) {
      status = BuildBaseRows(table_, spec, &base_rows_);
      if (status != kSoftpackOk) return status;
    }
    return ParallelFor(0, shape_.stages,
                       [&](uint64_t stage) { return BuildStage(spec, ranges, stage); });
  }

  uint64_t bytes() const override {
    return rows_.bytes() + start_.bytes() + steps_.bytes() + base_rows_.bytes();
  }
  const float* base_rows() const override { return base_rows_.data(); }
  // In order of columns.
  int CopyTo(FixedTables* tables) const {
    tables->columns = shape_.columns;
    tables->runs = groups_.runs();
    if (!tables->rows.Allocate(shape_.elements()) || !tables->start.Allocate(shape_.columns) ||
        !tables->steps.Allocate(groups_.runs() * shape_.columns) ||
        !tables->run_ends.Allocate(groups_.runs())) {
      return kSoftpackOutOfMemory;
    }
    std::copy_n(start_.data(), shape_.columns, tables->start.data());
    std::copy_n(steps_.data(), groups_.runs() * shape_.columns, tables->steps.data());
    for (uint64_t run = 0; run < groups_.runs(); ++run) {
      const StageGroup stages = groups_.Run(run);
      tables->run_ends.data()[run] = static_cast<uint32_t>(stages.first + stages.stages);
    }
    return ParallelFor(0, shape_.stages, [&](uint64_t stage) {
      for (uint64_t level = 0; level < shape_.levels; ++level) {
        int16_t* const to = tables->rows.data() + (stage * shape_.levels + level) * shape_.columns;
        for (uint64_t j = 0; j < shape_.columns; ++j) {
          const int16_t* const row =
              rows_.data() + shape_.Slice(j / shape_.width, stage) + level * shape_.width;
          to[j] = row[FixedPosition(static_cast<uint32_t>(j % shape_.width))];
        }
      }
      return kSoftpackOk;
    });
  }

  uint64_t BlockLabels(uint64_t count, uint64_t threads) const override {
    return shape_.BlockLabels(count, threads);
  }

  int Rows(const CodeBlock& block, RowScratch* scratch, RowBlock* rows) const override {
    const uint64_t panel_stride = shape_.PanelStride(block.labels);
    const bool one_run = groups_.runs() == 1;
    // With several runs only the floats of all blocks are needed at once.
    if (!scratch->sums.Reserve(one_run ? shape_.blocks() * panel_stride : panel_stride) ||
        !scratch->grouped.Reserve(block.labels * shape_.stages) ||
        (!one_run && !scratch->values.Reserve(shape_.blocks() * panel_stride))) {
      return kSoftpackOutOfMemory;
    }
    const StageGroups groups = shape_.GroupsFor(block.labels, groups_);
    const uint16_t* const grouped =
        GroupIndices(block, shape_.stages, groups, scratch->grouped.data());
    RowsAhead ahead(shape_, groups, rows_.data(), sizeof(int16_t), grouped, block.labels);
    for (uint64_t b = 0; b < shape_.blocks(); ++b) {
      int16_t* const sums = scratch->sums.data() + (one_run ? b * panel_stride : 0);
      for (uint64_t run = 0; run < groups_.runs(); ++run) {
        SumRun(groups, block.labels, b, run, grouped, &ahead, sums);
        if (!one_run) {
          AddRun(block.labels, b, run, sums, scratch->values.data() + b * panel_stride);
        }
      }
    }
    const uint32_t width = static_cast<uint32_t>(shape_.width);
    if (one_run) {
      const float* const step = steps_.data();
      *rows = {{nullptr, scratch->sums.data(), step, start_.data(), width, panel_stride}, width};
    } else {
      *rows = {{scratch->values.data(), nullptr, nullptr, nullptr, width, panel_stride}, width};
    }
    return kSoftpackOk;
  }

 private:
  // [stages, columns] each.
  struct Ranges {
    Buffer<float> least;
    Buffer<float> greatest;
    Buffer<float> inverse_step;  // [runs, columns]
    float Middle(uint64_t i) const { return 0.5f * least.data()[i] + 0.5f * greatest.data()[i]; }
    // The most that an entry lies away from the middle.
    double Half(uint64_t i) const {
      const double middle = Middle(i);
      return std::max(greatest.data()[i] - middle, middle - least.data()[i]);
    }
  };

  int FindRanges(const SoftpackDecoderSpec& spec, Ranges* ranges) const {
    const uint64_t count = shape_.stages * shape_.columns;
    if (!ranges->least.Allocate(count) || !ranges->greatest.Allocate(count)) {
      return kSoftpackOutOfMemory;
    }
    return ParallelFor(0, shape_.stages, [&](uint64_t stage) {
      StageRows rows;
      if (!rows.Compute(table_, spec, stage)) return kSoftpackOutOfMemory;
      float* const least = ranges->least.data() + stage * shape_.columns;
      float* const greatest = ranges->greatest.data() + stage * shape_.columns;
      std::copy_n(rows.data(), shape_.columns, least);
      std::copy_n(rows.data(), shape_.columns, greatest);
      for (uint64_t level = 1; level < shape_.levels; ++level) {
        table_.widen_range(rows.data() + level * shape_.columns, shape_.columns, least, greatest);
      }
      return kSoftpackOk;
    });
  }

  // start = bias + middles. Returns false if anything is not finite.
  bool SetStart(const SoftpackDecoderSpec& spec, const Ranges& ranges) {
    for (uint64_t j = 0; j < shape_.columns; ++j) {
      double start = spec.bias != nullptr && j < spec.classes ? spec.bias[j] : 0.0;
      double half = 0;
      for (uint64_t stage = 0; stage < shape_.stages; ++stage) {
        start += ranges.Middle(stage * shape_.columns + j);
        half += ranges.Half(stage * shape_.columns + j);
      }
      start_.data()[j] = static_cast<float>(start);
      if (!std::isfinite(start_.data()[j]) || !(half < 1e30)) return false;
    }
    return true;
  }

  // A step for which no sum of the run leaves 16 bits, each entry rounded by up to half a step.
  double StepOf(const Ranges& ranges, const StageGroup& run, uint64_t column) const {
    double half = 0;
    for (uint64_t stage = run.first; stage < run.first + run.stages; ++stage) {
      half += ranges.Half(stage * shape_.columns + column);
    }
    return half == 0 ? 0 : std::max(half / (32767.0 - static_cast<double>(run.stages)), kLeastStep);
  }

  void ChooseRuns(const SoftpackDecoderSpec& spec, const Ranges& ranges) {
    uint64_t runs = (shape_.stages + kMostRun - 1) / kMostRun;
    while (shape_.stages / (2 * runs) >= kLeastRun && ErrorOf(spec, ranges, runs) > kRunError) {
      runs *= 2;
    }
    groups_ = StageGroups(shape_.stages, runs, shape_.group);
  }

  // Root mean square error of v, as a share of what kRunError relates it to. A stage's variance is
  // taken as a ninth of half its range squared.
  double ErrorOf(const SoftpackDecoderSpec& spec, const Ranges& ranges, uint64_t runs) const {
    const StageGroups cut(shape_.stages, runs, shape_.group);
    double error = 0, size = 0;
    for (uint64_t j = 0; j < spec.classes; ++j) {
      for (uint64_t run = 0; run < runs; ++run) {
        const double step = StepOf(ranges, cut.Run(run), j);
        error += step * step * static_cast<double>(cut.Run(run).stages) / 12;
      }
      size += static_cast<double>(start_.data()[j]) * start_.data()[j];
      for (uint64_t stage = 0; stage < shape_.stages; ++stage) {
        const double half = ranges.Half(stage * shape_.columns + j);
        size += half * half / 9;
      }
    }
    if (spec.head == kSoftpackHeadSoftmax) {
      const double tau = spec.head_parameter;
      return std::sqrt(error / static_cast<double>(spec.classes)) / tau;
    }
    return size == 0 ? 0 : std::sqrt(error / size);
  }

  bool SetSteps(Ranges& ranges) {
    const uint64_t count = groups_.runs() * shape_.columns;
    if (!steps_.Allocate(count) || !ranges.inverse_step.Allocate(count)) return false;
    for (uint64_t run = 0; run < groups_.runs(); ++run) {
      for (uint64_t j = 0; j < shape_.columns; ++j) {
        const double step = StepOf(ranges, groups_.Run(run), j);
        // The factor of RowView.
        steps_.data()[run * shape_.columns + j] = static_cast<float>(step / 65536);
        ranges.inverse_step.data()[run * shape_.columns + j] =
            step == 0 ? 0.0f : static_cast<float>(1 / step);
      }
    }
    return true;
  }

  int BuildStage(const SoftpackDecoderSpec& spec, const Ranges& ranges, uint64_t stage) {
    StageRows computed;
    Buffer<float> middle(shape_.columns);
    if (!middle || !computed.Compute(table_, spec, stage)) return kSoftpackOutOfMemory;
    for (uint64_t j = 0; j < shape_.columns; ++j) {
      middle.data()[j] = ranges.Middle(stage * shape_.columns + j);
    }
    uint64_t run = 0;
    while (stage >= groups_.Run(run).first + groups_.Run(run).stages) ++run;
    const float* const inverse = ranges.inverse_step.data() + run * shape_.columns;
    for (uint64_t b = 0; b < shape_.blocks(); ++b) {
      const uint64_t column = b * shape_.width;
      int16_t* to = rows_.data() + shape_.Slice(b, stage);
      for (uint64_t level = 0; level < shape_.levels; ++level, to += shape_.width) {
        table_.to_fixed(computed.data() + level * shape_.columns + column, middle.data() + column,
                        inverse + column, shape_.width, to);
      }
    }
    return kSoftpackOk;
  }

  void SumRun(const StageGroups& groups, uint64_t labels, uint64_t block, uint64_t run,
              const uint16_t* grouped, RowsAhead* ahead, int16_t* panel) const {
    for (uint64_t g = 0; g < groups.groups_a_run(); ++g) {
      const StageGroup group = groups.Group(run, g);
      const int16_t* const slice = rows_.data() + shape_.Slice(block, group.first);
      ahead->Next();
      if (shape_.TouchesFirst(labels)) {
        TouchRows(slice, group.stages * shape_.stage_stride() * sizeof(int16_t));
      }
      table_.sum_fixed_rows({slice, shape_.stage_stride(), static_cast<uint32_t>(shape_.width),
                             grouped + group.first * labels, group.stages, group.stages, labels,
                             g == 0 ? zeros_.data() : nullptr, panel});
    }
  }

  // Adds the sums of a run to the floats of one block.
  void AddRun(uint64_t labels, uint64_t block, uint64_t run, const int16_t* sums,
              float* values) const {
    const uint64_t column = block * shape_.width;
    const float* const step = steps_.data() + run * shape_.columns + column;
    for (uint64_t i = 0; i < labels; ++i) {
      float* const to = values + i * shape_.width;
      const float* const start = run == 0 ? start_.data() + column : to;
      const RowView row{
          nullptr, sums + i * shape_.width, step, start, static_cast<uint32_t>(shape_.width), 0};
      table_.widen(row, shape_.width, to);
    }
  }

  // Stages whose entries still have some 10 bits each.
  static constexpr uint64_t kMostRun = 4096;

  const KernelTable& table_;
  const TableShape shape_;
  StageGroups groups_;
  Buffer<int16_t> rows_;
  Buffer<float> start_;  // [columns]
  Buffer<float> steps_;  // [runs, columns], with the factor of RowView
  Buffer<int16_t> zeros_;
  Buffer<float> base_rows_;
};

}  // namespace

int CreateFixedRows(const KernelTable& table, const SoftpackDecoderSpec& spec,
                    std::unique_ptr<RowSource>* source) {
  return CreateRows<FixedRows>(spec, source, table, spec);
}

int BuildFixedTables(const KernelTable& table, const SoftpackDecoderSpec& spec,
                     FixedTables* tables) {
  SoftpackDecoderSpec without_bases = spec;
  without_bases.bases = nullptr;
  FixedRows rows(table, without_bases);
  const int status = rows.Create(without_bases);
  return status == kSoftpackOk ? rows.CopyTo(tables) : status;
}

}  // namespace softpack
