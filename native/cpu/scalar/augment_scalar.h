// The specification of the kernels on pixels. Included once, by kernels_scalar.cc, inside its
// namespace.

void ResizeColumns(const uint8_t* row, const ColumnTap* taps, uint64_t pixels, int32_t* sums) {
  for (uint64_t i = 0; i < pixels; ++i) {
    const ColumnTap tap = taps[i];
    const int32_t left_weight = static_cast<int32_t>(tap.weights & 0xffff);
    const int32_t right_weight = static_cast<int32_t>(tap.weights >> 16);
    for (uint32_t channel = 0; channel < 3; ++channel) {
      sums[3 * i + channel] =
          row[tap.left + channel] * left_weight + row[tap.right + channel] * right_weight;
    }
  }
}

void BlendRows(const int32_t* top, const int32_t* bottom, int32_t weight, uint64_t length,
               const PixelScale& scale, float* out) {
  for (uint64_t j = 0; j < length; ++j) {
    const int32_t value = (top[j] * (2048 - weight) + bottom[j] * weight + 32) >> 6;
    const uint64_t at = j % kPatternFloats;
    out[j] = static_cast<float>(value) * scale.scale[at] + scale.shift[at];
  }
}

float Start(float) { return 0.0f; }
int32_t Start(int32_t) { return kFilterHalf; }
float Finished(float sum) { return sum; }
int32_t Finished(int32_t sum) {
  const int32_t value = sum >> kFilterBits;
  return value < 255 ? value : 255;
}

template <class T>
void FilterColumns(const uint8_t* row, const FilterTap* taps, const T* weights, uint64_t pixels,
                   T* out) {
  for (uint64_t i = 0; i < pixels; ++i) {
    const FilterTap tap = taps[i];
    for (uint32_t channel = 0; channel < 3; ++channel) {
      T sum = Start(T{});
      for (uint32_t k = 0; k < tap.count; ++k) {
        const uint32_t pixel = row[tap.start + 3 * k + channel];
        sum += static_cast<T>(pixel) * weights[tap.weights + k];
      }
      out[3 * i + channel] = Finished(sum);
    }
  }
}

template <class T>
void FilterRows(const T* const* rows, const T* weights, uint64_t count, uint64_t length,
                const PixelScale& scale, float* out) {
  for (uint64_t j = 0; j < length; ++j) {
    T sum = Start(T{});
    for (uint64_t k = 0; k < count; ++k) sum += rows[k][j] * weights[k];
    const uint64_t at = j % kPatternFloats;
    out[j] = static_cast<float>(Finished(sum)) * scale.scale[at] + scale.shift[at];
  }
}

void MixRows(const float* other, float weight, uint64_t length, float* own) {
  const float rest = 1.0f - weight;
  for (uint64_t j = 0; j < length; ++j) own[j] = own[j] * weight + other[j] * rest;
}
