#include "cpu/principal_axes.h"

#include <algorithm>
#include <cmath>

#include "cpu/buffer.h"

namespace softpack {
namespace {

// Rows that are looked at, evenly spread.
constexpr uint64_t kMostRows = 2048;
// Axes are added until this share of the variance is left.
constexpr double kLeftVariance = 4e-3;
constexpr int kSteps = 8;

double Dot(const double* a, const double* b, uint64_t width) {
  double sum = 0;
  for (uint64_t d = 0; d < width; ++d) sum += a[d] * b[d];
  return sum;
}

// Deviations of `count` rows, `step` apart, from their mean.
void Deviations(const float* rows, uint64_t step, uint64_t count, uint64_t width,
                double* deviations) {
  for (uint64_t d = 0; d < width; ++d) {
    double sum = 0;
    for (uint64_t j = 0; j < count; ++j) sum += rows[j * step * width + d];
    const double mean = sum / static_cast<double>(count);
    for (uint64_t j = 0; j < count; ++j) {
      deviations[j * width + d] = rows[j * step * width + d] - mean;
    }
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

// One step of subspace iteration: turned = axes times the rows' covariance, made orthonormal, and
// the variance along each.
void Turn(const double* deviations, uint64_t rows, uint64_t width, const double* axes,
          uint64_t count, double* turned, double* variances) {
  std::fill_n(turned, count * width, 0.0);
  for (uint64_t j = 0; j < rows; ++j, deviations += width) {
    for (uint64_t i = 0; i < count; ++i) {
      const double place = Dot(deviations, axes + i * width, width);
      for (uint64_t d = 0; d < width; ++d) turned[i * width + d] += place * deviations[d];
    }
  }
  for (uint64_t i = 0; i < count; ++i) {
    variances[i] = Straighten(turned + i * width, turned, i, width);
  }
}

// The greatest eigenvalue of the axes' products with each other is at most a row's sum; no vector
// is longer along the axes than by its root.
double LongestOf(const float* axes, uint64_t stride, uint64_t width, uint32_t count) {
  double longest = 0;
  for (uint32_t i = 0; i < count; ++i) {
    double sum = 0;
    for (uint32_t other = 0; other < count; ++other) {
      double product = 0;
      for (uint64_t d = 0; d < width; ++d) {
        product += double{axes[i * stride + d]} * axes[other * stride + d];
      }
      sum += std::fabs(product);
    }
    longest = std::max(longest, sum);
  }
  return longest;
}

}  // namespace

bool FindPrincipalAxes(const float* rows, uint64_t count, uint64_t width, uint64_t stride,
                       uint32_t most, float* axes, uint32_t* used) {
  const uint64_t step = (count + kMostRows - 1) / kMostRows, samples = (count + step - 1) / step;
  const uint64_t tried = std::min<uint64_t>({most, kMostAxes, width}), size = tried * width;
  Buffer<double> deviations(samples * width), found(2 * size);
  if (!deviations || !found) return false;
  Deviations(rows, step, samples, width, deviations.data());
  // Any start will do that is not the same in all directions.
  uint32_t state = 1;
  for (uint64_t i = 0; i < size; ++i) {
    state = state * 1664525 + 1013904223;
    found.data()[i] = static_cast<double>(state >> 8) * 0x1p-24 - 0.5;
  }
  double variances[kMostAxes];
  for (int i = 0; i < kSteps; ++i) {
    Turn(deviations.data(), samples, width, found.data(), tried, found.data() + size, variances);
    std::copy_n(found.data() + size, size, found.data());
  }
  const double all = Dot(deviations.data(), deviations.data(), samples * width);
  double left = all;
  uint32_t kept = 0;
  while (kept < tried && variances[kept] > 0 && (kept == 0 || left > kLeftVariance * all)) {
    left -= variances[kept++];
  }
  std::fill_n(axes, most * stride, 0.0f);
  for (uint32_t i = 0; i < kept; ++i) {
    for (uint64_t d = 0; d < width; ++d) {
      axes[i * stride + d] = static_cast<float>(found.data()[i * width + d]);
    }
  }
  *used = LongestOf(axes, stride, width, kept) <= kLongestAxes ? kept : 0;
  return true;
}

}  // namespace softpack
