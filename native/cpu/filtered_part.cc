#include "cpu/filtered_part.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/status.h"

namespace softpack {
namespace {

void Normalise(const double* exact, double sum, uint32_t count, float* weights) {
  for (uint32_t k = 0; k < count; ++k) weights[k] = static_cast<float>(exact[k] / sum);
}

void Normalise(const double* exact, double sum, uint32_t count, int32_t* weights) {
  constexpr double kOne = 1u << kFilterBits;
  for (uint32_t k = 0; k < count; ++k) {
    weights[k] = static_cast<int32_t>(0.5 + exact[k] / sum * kOne);
  }
}

}  // namespace

template <class T>
bool FilterTaps<T>::Reserve(uint32_t positions, uint32_t size, uint32_t length, bool antialias) {
  size_ = size;
  length_ = length;
  support_ = antialias ? std::max(1.0, static_cast<double>(length) / size) : 1.0;
  widest_ = std::min(length, static_cast<uint32_t>(std::ceil(support_)) * 2 + 1);
  taps_count_ = weights_count_ = 0;
  return taps_.Reserve(positions) && weights_.Reserve(uint64_t{positions} * widest_) &&
         exact_.Reserve(widest_);
}

// Pillow's precompute_coeffs with its bilinear filter, in the same order of float64 operations.
template <class T>
void FilterTaps<T>::Add(uint32_t position, uint32_t start, uint32_t unit) {
  const double centre = (position + 0.5) * (static_cast<double>(length_) / size_);
  const uint32_t first = static_cast<uint32_t>(std::max(0.0, centre - support_ + 0.5));
  const uint32_t end = std::min(length_, static_cast<uint32_t>(centre + support_ + 0.5));
  const double inverse = 1.0 / support_;
  double* const exact = exact_.data();
  double sum = 0;
  for (uint32_t k = 0; k < end - first; ++k) {
    const double distance =
        std::abs((static_cast<double>(k) + first - centre + 0.5) * inverse);
    exact[k] = distance < 1.0 ? 1.0 - distance : 0.0;
    sum += exact[k];
  }
  T* const weights = weights_.data() + weights_count_;
  Normalise(exact, sum, end - first, weights);
  // Pixels at the ends of a window often lie beyond the triangle.
  uint32_t skipped = 0, count = end - first;
  while (count > 1 && exact[count - 1] == 0) --count;
  while (skipped + 1 < count && exact[skipped] == 0) ++skipped;
  taps_.data()[taps_count_++] = {(start + first + skipped) * unit, count - skipped,
                                 weights_count_ + skipped};
  weights_count_ += count;
}

template <class T>
FilteredPart<T>::FilteredPart(const KernelTable& table, const SoftpackAugmentArgs& args)
    : table_(table), args_(args) {
  // `scale` is that of 8.16 fixed point; a power of two leaves it exact.
  for (uint32_t i = 0; i < kPatternFloats; ++i) {
    scale_.scale[i] = args.scale[i % kChannels] * 65536.0f;
    scale_.shift[i] = args.shift[i % kChannels];
  }
}

template <class T>
int FilteredPart<T>::Render(const Part& part, const Rectangle& box, float* out,
                            const float* weight) {
  if (box.height == 0 || box.width == 0) return kSoftpackOk;
  if (!FillTaps(part, box) || !Reserve(part, box)) return kSoftpackOutOfMemory;
  const uint64_t length = uint64_t{box.width} * kChannels;
  uint32_t resized = 0;  // source rows below this one are resized already
  for (uint32_t i = 0; i < box.height; ++i) {
    const FilterTap& tap = lines_.tap(i);
    for (uint32_t k = 0; k < tap.count; ++k) {
      const uint32_t row = tap.start + k;
      if (row >= resized) {
        ResizeRow(part, row, box.width);
        resized = row + 1;
      }
      sources_.data()[k] = RowAt(row);
    }
    float* const row = out + (uint64_t{box.top + i} * args_.width + box.left) * kChannels;
    float* const to = weight == nullptr ? row : mixed_.data();
    const T* const weights = lines_.weights() + tap.weights;
    if constexpr (std::is_same_v<T, float>) {
      table_.filter_rows_float(sources_.data(), weights, tap.count, length, scale_, to);
    } else {
      table_.filter_rows_fixed(sources_.data(), weights, tap.count, length, scale_, to);
    }
    if (weight != nullptr) table_.mix_rows(to, *weight, length, row);
  }
  return kSoftpackOk;
}

template <class T>
bool FilteredPart<T>::FillTaps(const Part& part, const Rectangle& box) {
  const bool antialias = args_.resample == kSoftpackResampleAntialias;
  const Rectangle& crop = part.crop;
  if (!columns_.Reserve(box.width, args_.width, crop.width, antialias)) return false;
  if (!lines_.Reserve(box.height, args_.height, crop.height, antialias)) return false;
  for (uint32_t i = 0; i < box.width; ++i) {
    const uint32_t x = box.left + i;
    columns_.Add(part.mirrored ? args_.width - 1 - x : x, crop.left, kChannels);
  }
  for (uint32_t i = 0; i < box.height; ++i) lines_.Add(box.top + i, crop.top, 1);
  return true;
}

template <class T>
bool FilteredPart<T>::Reserve(const Part& part, const Rectangle& box) {
  const uint64_t length = uint64_t{box.width} * kChannels;
  kept_ = lines_.widest();
  stride_ = length + kPatternFloats;
  return rows_.Reserve(kept_ * stride_) && sources_.Reserve(kept_) && mixed_.Reserve(length) &&
         last_row_.Reserve(uint64_t{part.image.width} * kChannels + 1);
}

template <class T>
void FilteredPart<T>::ResizeRow(const Part& part, uint32_t row, uint64_t pixels) {
  const uint64_t row_bytes = uint64_t{part.image.width} * kChannels;
  const uint8_t* from = part.image.pixels + row * row_bytes;
  if (row + 1 == part.image.height) {
    // Nothing may be read beyond the image, and kernels read one byte beyond a pixel.
    std::memcpy(last_row_.data(), from, row_bytes);
    last_row_.data()[row_bytes] = 0;
    from = last_row_.data();
  }
  if constexpr (std::is_same_v<T, float>) {
    table_.filter_columns_float(from, columns_.taps(), columns_.weights(), pixels, RowAt(row));
  } else {
    table_.filter_columns_fixed(from, columns_.taps(), columns_.weights(), pixels, RowAt(row));
  }
}

template class FilterTaps<float>;
template class FilterTaps<int32_t>;
template class FilteredPart<float>;
template class FilteredPart<int32_t>;

}  // namespace softpack
