#include "cpu/codebook_cells.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/nearest_bound.h"
#include "cpu/packed_matrix.h"
#include "cpu/principal_axes.h"

namespace softpack {
namespace {

constexpr uint64_t kLeastLevels = 4 * kCellLevels;
constexpr uint64_t kMostLevels = 65536;  // cells are listed in 16 bits, and there is one less
constexpr uint64_t kMostWidth = 256;
// Fewer vectors do not pay for making cells: some 200 cycles per element of the codebook.
constexpr uint64_t kLeastVectors = 16384;
constexpr uint64_t kChunk = 384;
constexpr double kLongest = 0x1p40;
constexpr float kOutside = 0x1p60f;

// Orders `items` into cells: halves of whole cells along the axis of greatest variance.
void Order(const double* places, uint32_t axes, uint32_t* items, uint64_t count) {
  if (count <= kCellLevels) {
    std::sort(items, items + count);
    return;
  }
  uint32_t widest = 0;
  double most = -1;
  for (uint32_t axis = 0; axis < axes; ++axis) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < count; ++i) sum += places[items[i] * axes + axis];
    for (uint64_t i = 0; i < count; ++i) {
      const double from = places[items[i] * axes + axis] - sum / static_cast<double>(count);
      squares += from * from;
    }
    if (squares > most) {
      most = squares;
      widest = axis;
    }
  }
  const uint64_t cells = (count + kCellLevels - 1) / kCellLevels;
  const uint64_t half = (cells + 1) / 2 * kCellLevels;
  std::nth_element(items, items + half, items + count, [&](uint32_t a, uint32_t b) {
    const double one = places[a * axes + widest], other = places[b * axes + widest];
    return one < other || (one == other && a < b);
  });
  Order(places, axes, items, half);
  Order(places, axes, items + half, count - half);
}

// Of codewords of a finite length at most kLongest.
bool InRange(const float* codebook, uint64_t levels, uint64_t width) {
  for (uint64_t j = 0; j < levels; ++j) {
    double square = 0;
    for (uint64_t d = 0; d < width; ++d) {
      square += double{codebook[j * width + d]} * codebook[j * width + d];
    }
    if (!(square <= kLongest * kLongest)) return false;
  }
  return true;
}

// Cycles per vector of the search in full, and of a cell that is looked into: fitted to the
// settings of the paper on Zen 4 by AVX-512; vectors of fewer lanes take more of each. A cell alone
// takes half as long again as one of all side by side.
double FullCycles(const CellIndex& index) {
  return 60 + 1.1 * static_cast<double>(index.cells * index.width);
}
double CellCycles(const CellIndex& index) { return 10 + 1.6 * static_cast<double>(index.width); }
// Of placing a vector and measuring how far it is outside of each cell.
double PlacingCycles(const CellIndex& index) {
  const auto axes = static_cast<double>(index.axis_count);
  return 45 + (static_cast<double>(index.width) / 16 + 3) * (axes + 1) +
         static_cast<double>(index.padded) / 16 * 3 * axes;
}

}  // namespace

bool CodebookCells::Suits(const Isa& isa, uint64_t levels, uint64_t width, uint64_t count) {
  return isa.kernels->find_cells != nullptr && levels >= kLeastLevels && levels < kMostLevels &&
         width <= kMostWidth && count >= kLeastVectors;
}

bool CodebookCells::Create(const Isa& isa, const float* codebook, uint64_t levels, uint64_t width) {
  table_ = isa.kernels;
  levels_ = levels;
  width_ = width;
  if (!groups_.Allocate(GroupedFloats(*table_, levels, width))) return false;
  table_->group_codebook(codebook, levels, width, groups_.data());
  if (!Suits(isa, levels, width, UINT64_MAX) || !InRange(codebook, levels, width)) return true;
  index_.stride = RoundUp(width, 16);
  if (!axes_.Allocate(kCellAxes * index_.stride) ||
      !FindPrincipalAxes(codebook, levels, width, index_.stride, kCellAxes, axes_.data(),
                         &index_.axis_count)) {
    return false;
  }
  return index_.axis_count == 0 || MakeCells(codebook);
}

// False if allocation fails.
bool CodebookCells::MakeCells(const float* codebook) {
  const uint32_t axes = index_.axis_count;
  const uint64_t cells = (levels_ + kCellLevels - 1) / kCellLevels;
  const uint64_t padded = RoundUp(cells, 16), places_of_cells = cells * kCellLevels;
  Buffer<float> sorted(levels_ * width_), grouped(GroupedFloats(*table_, levels_, width_));
  Buffer<double> places(levels_ * axes);
  if (!sorted || !places || !least_.Allocate(axes * padded) || !greatest_.Allocate(axes * padded) ||
      !grouped || !ordered_.Allocate(places_of_cells * (width_ + 1)) ||
      !levels_of_.Allocate(places_of_cells)) {
    return false;
  }
  double farthest = 0;
  for (uint64_t j = 0; j < levels_; ++j) {
    for (uint32_t axis = 0; axis < axes; ++axis) {
      double place = 0;
      for (uint64_t d = 0; d < width_; ++d) {
        place += double{codebook[j * width_ + d]} * axes_.data()[axis * index_.stride + d];
      }
      places.data()[j * axes + axis] = place;
      farthest = std::max(farthest, std::fabs(place));
    }
  }
  uint32_t* const items = levels_of_.data();
  std::iota(items, items + levels_, 0u);
  std::fill(items + levels_, items + places_of_cells, 0u);  // have an infinite norm
  Order(places.data(), axes, items, levels_);
  for (uint64_t j = 0; j < levels_; ++j) {
    std::copy_n(codebook + items[j] * width_, width_, sorted.data() + j * width_);
  }
  // Norms are the table's, to the bit.
  table_->group_codebook(sorted.data(), levels_, width_, grouped.data());
  const uint64_t group = table_->group_size;
  for (uint64_t j = 0; j < places_of_cells; ++j) {
    const float* const from = grouped.data() + j / group * group * (width_ + 1) + j % group;
    float* const to =
        ordered_.data() + j / kCellLevels * kCellLevels * (width_ + 1) + j % kCellLevels;
    for (uint64_t d = 0; d <= width_; ++d) to[d * kCellLevels] = from[d * group];
  }

  std::fill_n(least_.data(), axes * padded, kOutside);
  std::fill_n(greatest_.data(), axes * padded, kOutside);
  for (uint64_t cell = 0; cell < cells; ++cell) {
    const uint64_t first = cell * kCellLevels;
    const uint64_t last = std::min(first + kCellLevels, levels_);
    for (uint32_t axis = 0; axis < axes; ++axis) {
      double least = places.data()[items[first] * axes + axis], greatest = least;
      for (uint64_t j = first; j < last; ++j) {
        least = std::min(least, places.data()[items[j] * axes + axis]);
        greatest = std::max(greatest, places.data()[items[j] * axes + axis]);
      }
      // Beyond what is rounded in a place in float64.
      const double rounded = 0x1p-40 * farthest;
      least_.data()[axis * padded + cell] =
          std::nextafter(static_cast<float>(least - rounded), -kOutside);
      greatest_.data()[axis * padded + cell] =
          std::nextafter(static_cast<float>(greatest + rounded), kOutside);
    }
  }
  const double unit = kChainRounding * static_cast<double>(width_ + 2);
  index_.axes = axes_.data();
  index_.least = least_.data();
  index_.greatest = greatest_.data();
  index_.codewords = ordered_.data();
  index_.levels = items;
  index_.width = width_;
  index_.cells = cells;
  index_.padded = padded;
  index_.of_square = static_cast<float>(
      1.1 * (unit + 0x1p-22 + 5 * kScoreRounding * static_cast<double>(width_ + 2)));
  index_.of_length = static_cast<float>(1.1 * unit * std::sqrt(static_cast<double>(axes)));
  return true;
}

int CodebookCells::Find(const NearestCall& call, CellScratch* scratch) const {
  if (!HasCells()) {
    FindInFull(call);
    return kSoftpackOk;
  }
  if (!scratch->distances.Reserve(kCellRows * index_.padded) ||
      !scratch->list.Reserve(kCellRows * index_.padded + 64) ||
      !scratch->undecided.Reserve(kChunk) || !scratch->vectors.Reserve(kChunk * width_) ||
      !scratch->indices.Reserve(kChunk) || !scratch->margins.Reserve(kChunk)) {
    return kSoftpackOutOfMemory;
  }
  bool worth = true;
  for (uint64_t first = 0; first < call.count;) {
    NearestCall chunk = call;
    chunk.count = worth ? std::min(kChunk, call.count - first) : call.count - first;
    chunk.vectors += first * width_;
    chunk.out += first;
    if (call.slack != nullptr) chunk.slack += first;
    if (call.margins != nullptr) chunk.margins += first;
    first += chunk.count;
    if (!worth) {
      FindInFull(chunk);
      continue;
    }
    uint64_t looked_into = 0;
    const uint64_t undecided = FindChunk(chunk, scratch, &looked_into);
    FindUndecided(chunk, undecided, scratch);
    scratch->looked_into += looked_into + undecided * index_.cells;
    const double spent = PlacingCycles(index_) * static_cast<double>(chunk.count) +
                         CellCycles(index_) * static_cast<double>(looked_into) +
                         FullCycles(index_) * static_cast<double>(undecided);
    worth = spent < FullCycles(index_) * static_cast<double>(chunk.count);
  }
  return kSoftpackOk;
}

// Returns how many vectors are undecided; they are in scratch->undecided.
uint64_t CodebookCells::FindChunk(const NearestCall& call, CellScratch* scratch,
                                  uint64_t* looked_into) const {
  CellCall rows = {};
  rows.most = std::max<uint64_t>(index_.cells / 2, 2);
  rows.distances = scratch->distances.data();
  rows.list = scratch->list.data();
  uint64_t undecided = 0;
  for (uint64_t i = 0; i < call.count; i += kCellRows) {
    rows.vectors = call.vectors + i * width_;
    rows.slack = call.slack == nullptr ? nullptr : call.slack + i;
    rows.count = std::min<uint64_t>(kCellRows, call.count - i);
    rows.out = call.out + i;
    rows.margins = call.margins == nullptr ? nullptr : call.margins + i;
    const CellResult result = table_->find_cells(index_, rows);
    *looked_into += result.looked_into;
    for (uint32_t row = 0; row < rows.count; ++row) {
      if ((result.undecided >> row & 1) == 0) continue;
      scratch->undecided.data()[undecided++] = static_cast<uint32_t>(i + row);
    }
  }
  return undecided;
}

void CodebookCells::FindUndecided(const NearestCall& call, uint64_t undecided,
                                  CellScratch* scratch) const {
  if (undecided == 0) return;
  const uint32_t* const list = scratch->undecided.data();
  for (uint64_t i = 0; i < undecided; ++i) {
    std::copy_n(call.vectors + list[i] * width_, width_, scratch->vectors.data() + i * width_);
  }
  float* const margins = call.margins == nullptr ? nullptr : scratch->margins.data();
  FindInFull({scratch->vectors.data(), undecided, scratch->indices.data(), nullptr, margins});
  for (uint64_t i = 0; i < undecided; ++i) {
    call.out[list[i]] = scratch->indices.data()[i];
    if (margins != nullptr) call.margins[list[i]] = margins[i];
  }
}

void CodebookCells::FindInFull(const NearestCall& call) const {
  if (call.margins == nullptr) {
    table_->nearest(call.vectors, groups_.data(), call.count, width_, levels_, call.out);
  } else {
    table_->nearest_margins(call.vectors, groups_.data(), call.count, width_, levels_, call.out,
                            call.margins);
  }
}

}  // namespace softpack
