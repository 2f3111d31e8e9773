#include "cpu/codebook_cells.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/nearest_bound.h"
#include "cpu/packed_matrix.h"

namespace softpack {
namespace {

constexpr uint64_t kLeastLevels = 4 * kCellLevels;
constexpr uint64_t kMostLevels = 65536;  // cells are listed in 16 bits, and there is one less
constexpr uint64_t kMostWidth = 256;
// Vectors below which making cells costs more than it saves, in codewords.
constexpr uint64_t kLeastVectors = 4;
constexpr uint64_t kChunk = 384;
constexpr double kLongest = 0x1p40;
// Axes are added until this share of the codebook's variance is left.
constexpr double kLeftVariance = 4e-3;
constexpr int kAxisSteps = 12;
constexpr double kLongestAxes = 1 + 1e-5;
// Scoring cells one by one takes about twice as long per codeword as scoring all. Where it must
// look into more than this share of them, the search in full is faster.
constexpr double kWorthCells = 0.45;
constexpr float kOutside = 0x1p60f;

double Dot(const double* a, const double* b, uint64_t width) {
  double sum = 0;
  for (uint64_t d = 0; d < width; ++d) sum += a[d] * b[d];
  return sum;
}

// Deviations of the codewords from their mean.
void Deviations(const float* codebook, uint64_t levels, uint64_t width, double* deviations) {
  for (uint64_t d = 0; d < width; ++d) {
    double sum = 0;
    for (uint64_t j = 0; j < levels; ++j) sum += codebook[j * width + d];
    const double mean = sum / static_cast<double>(levels);
    for (uint64_t j = 0; j < levels; ++j)
      deviations[j * width + d] = codebook[j * width + d] - mean;
  }
}

// Makes an axis orthogonal to `others` before it, and of length 1; or 0, where nothing is left.
// Returns what its length was.
double Straighten(double* axis, const double* others, uint64_t count, uint64_t width) {
  const double before = std::sqrt(Dot(axis, axis, width));
  for (int pass = 0; pass < 2; ++pass) {
    for (uint64_t i = 0; i < count; ++i) {
      const double share = Dot(axis, others + i * width, width);
      for (uint64_t d = 0; d < width; ++d) axis[d] -= share * others[i * width + d];
    }
  }
  const double length = std::sqrt(Dot(axis, axis, width));
  const bool left = length > 1e-9 * before;
  for (uint64_t d = 0; d < width; ++d) axis[d] = left ? axis[d] / length : 0;
  return left ? length : 0;
}

// One step of subspace iteration: turned = axes times the codewords' covariance, made orthonormal,
// and the variance along each.
void Turn(const double* deviations, uint64_t levels, uint64_t width, const double* axes,
          uint64_t count, double* turned, double* variances) {
  std::fill_n(turned, count * width, 0.0);
  for (uint64_t j = 0; j < levels; ++j, deviations += width) {
    for (uint64_t i = 0; i < count; ++i) {
      const double place = Dot(deviations, axes + i * width, width);
      for (uint64_t d = 0; d < width; ++d) turned[i * width + d] += place * deviations[d];
    }
  }
  for (uint64_t i = 0; i < count; ++i) {
    variances[i] = Straighten(turned + i * width, turned, i, width);
  }
}

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

}  // namespace

bool CodebookCells::Suits(const Isa& isa, uint64_t levels, uint64_t width, uint64_t count) {
  return isa.cells != nullptr && levels >= kLeastLevels && levels < kMostLevels &&
         width <= kMostWidth && count >= kLeastVectors * levels;
}

bool CodebookCells::Create(const Isa& isa, const float* codebook, uint64_t levels, uint64_t width) {
  table_ = isa.kernels;
  levels_ = levels;
  width_ = width;
  if (!groups_.Allocate(GroupedFloats(*table_, levels, width))) return false;
  table_->group_codebook(codebook, levels, width, groups_.data());
  if (!Suits(isa, levels, width, UINT64_MAX) || !InRange(codebook, levels, width)) return true;
  if (!MakeAxes(codebook)) return false;
  if (index_.axis_count == 0) return true;
  if (!MakeCells(codebook)) return false;
  unit_ = isa.cells;
  return true;
}

// False if allocation fails; without axes, there are none to make cells on.
bool CodebookCells::MakeAxes(const float* codebook) {
  const uint64_t count = std::min<uint64_t>(kCellAxes, width_), size = count * width_;
  Buffer<double> deviations(levels_ * width_), axes(2 * size);
  if (!deviations || !axes || !axes_.Allocate(kCellAxes * RoundUp(width_, 16))) return false;
  Deviations(codebook, levels_, width_, deviations.data());
  // Any start will do that is not the same in all directions.
  uint32_t state = 1;
  for (uint64_t i = 0; i < size; ++i) {
    state = state * 1664525 + 1013904223;
    axes.data()[i] = static_cast<double>(state >> 8) * 0x1p-24 - 0.5;
  }
  double variances[kCellAxes];
  for (int step = 0; step < kAxisSteps; ++step) {
    Turn(deviations.data(), levels_, width_, axes.data(), count, axes.data() + size, variances);
    std::copy_n(axes.data() + size, size, axes.data());
  }
  const double all = Dot(deviations.data(), deviations.data(), levels_ * width_);
  double left = all;
  uint32_t used = 0;
  while (used < count && variances[used] > 0 && (used == 0 || left > kLeftVariance * all)) {
    left -= variances[used++];
  }
  KeepAxes(axes.data(), used);
  return true;
}

void CodebookCells::KeepAxes(const double* axes, uint32_t count) {
  index_.stride = RoundUp(width_, 16);
  std::fill_n(axes_.data(), kCellAxes * index_.stride, 0.0f);
  for (uint32_t i = 0; i < count; ++i) {
    for (uint64_t d = 0; d < width_; ++d) {
      axes_.data()[i * index_.stride + d] = static_cast<float>(axes[i * width_ + d]);
    }
  }
  // No vector is longer along the axes than it is: the greatest eigenvalue of their products is at
  // most a row's sum.
  double longest = 0;
  for (uint32_t i = 0; i < count; ++i) {
    double sum = 0;
    for (uint32_t other = 0; other < count; ++other) {
      double product = 0;
      for (uint64_t d = 0; d < width_; ++d) {
        product +=
            double{axes_.data()[i * index_.stride + d]} * axes_.data()[other * index_.stride + d];
      }
      sum += std::fabs(product);
    }
    longest = std::max(longest, sum);
  }
  index_.axis_count = longest <= kLongestAxes ? count : 0;
}

// False if allocation fails.
bool CodebookCells::MakeCells(const float* codebook) {
  const uint32_t axes = index_.axis_count;
  cells_ = (levels_ + kCellLevels - 1) / kCellLevels;
  const uint64_t padded = RoundUp(cells_, 16), places_of_cells = cells_ * kCellLevels;
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
  for (uint64_t cell = 0; cell < cells_; ++cell) {
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
  index_.cells = cells_;
  index_.padded = padded;
  index_.of_square = static_cast<float>(
      1.1 * (unit + 0x1p-22 + 5 * kScoreRounding * static_cast<double>(width_ + 2)));
  index_.of_length = static_cast<float>(1.1 * unit * std::sqrt(static_cast<double>(axes)));
  return true;
}

int CodebookCells::Find(const NearestCall& call, CellScratch* scratch) const {
  if (unit_ == nullptr) {
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
    scratch->looked_into += looked_into + undecided * cells_;
    const double all = static_cast<double>(chunk.count * cells_);
    worth = static_cast<double>(looked_into + undecided * cells_) < kWorthCells * all;
  }
  return kSoftpackOk;
}

// Returns how many vectors are undecided; they are in scratch->undecided.
uint64_t CodebookCells::FindChunk(const NearestCall& call, CellScratch* scratch,
                                  uint64_t* looked_into) const {
  CellCall rows = {};
  rows.most = std::max<uint64_t>(cells_ / 2, 2);
  rows.distances = scratch->distances.data();
  rows.list = scratch->list.data();
  uint64_t undecided = 0;
  for (uint64_t i = 0; i < call.count; i += kCellRows) {
    rows.vectors = call.vectors + i * width_;
    rows.slack = call.slack == nullptr ? nullptr : call.slack + i;
    rows.count = std::min<uint64_t>(kCellRows, call.count - i);
    rows.out = call.out + i;
    rows.margins = call.margins == nullptr ? nullptr : call.margins + i;
    const CellResult result = unit_->find(index_, rows);
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
