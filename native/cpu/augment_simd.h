// Kernels on pixels, over the vectors of a simd_<isa>.h; included by kernels_simd.h.
//
// resize_columns gathers: a pixel's two neighbours lie anywhere in the row, so each output pixel
// loads both as 32-bit words (bytes_sse.h, bytes_neon.h).
// blend_rows runs over whole vectors of a row, all channels alike. The filters do the same with any
// number of source pixels.

void ResizeColumns(const uint8_t* row, const ColumnTap* taps, uint64_t pixels, int32_t* sums) {
  for (uint64_t i = 0; i < pixels; ++i) {
    const ColumnTap tap = taps[i];
    // The fourth sum is overwritten by the next pixel's first.
    ResizePixel(row + tap.left, row + tap.right, tap.weights, sums + 3 * i);
  }
}

void BlendRows(const int32_t* top, const int32_t* bottom, int32_t weight, uint64_t length,
               const PixelScale& scale, float* out) {
  constexpr uint32_t kVectors = kPatternFloats / kLanes;
  Vec scales[kVectors];
  Vec shifts[kVectors];
  for (uint32_t v = 0; v < kVectors; ++v) {
    scales[v] = Load(scale.scale + v * kLanes);
    shifts[v] = Load(scale.shift + v * kLanes);
  }
  uint64_t j = 0;
  for (; j + kPatternFloats <= length; j += kPatternFloats) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kVectors; ++v) {
      const uint64_t at = j + v * kLanes;
      const Vec value = BlendRounded(top + at, bottom + at, 2048 - weight, weight);
      Store(out + at, Add(Times(value, scales[v]), shifts[v]));
    }
  }
  if (j == length) return;
  float rest[kPatternFloats];
  for (uint32_t v = 0; v < kVectors; ++v) {
    const uint64_t at = j + v * kLanes;
    const Vec value = BlendRounded(top + at, bottom + at, 2048 - weight, weight);
    Store(rest + v * kLanes, Add(Times(value, scales[v]), shifts[v]));
  }
  for (uint32_t i = 0; j < length; ++i, ++j) out[j] = rest[i];
}

template <class T>
void FilterColumns(const uint8_t* row, const FilterTap* taps, const T* weights, uint64_t pixels,
                   T* out) {
  for (uint64_t i = 0; i < pixels; ++i) {
    const FilterTap tap = taps[i];
    FilterPixel(row + tap.start, weights + tap.weights, tap.count, out + 3 * i);
  }
}

// Elements j on of all rows, weighed.
SOFTPACK_INLINE Vec FilteredRows(const float* const* rows, const float* weights, uint64_t count,
                                 uint64_t j) {
  Vec sum = Zero();
  for (uint64_t k = 0; k < count; ++k) {
    sum = Add(sum, Times(Load(rows[k] + j), Broadcast(weights[k])));
  }
  return sum;
}

SOFTPACK_INLINE Vec FilteredRows(const int32_t* const* rows, const int32_t* weights, uint64_t count,
                                 uint64_t j) {
  Integers sum = BroadcastInteger(kFilterHalf);
  for (uint64_t k = 0; k < count; ++k) sum = AddProduct(sum, rows[k] + j, weights[k]);
  return ShiftedPixel<kFilterBits>(sum);
}

template <class T>
void FilterRows(const T* const* rows, const T* weights, uint64_t count, uint64_t length,
                const PixelScale& scale, float* out) {
  for (uint64_t j = 0; j < length; j += kLanes) {
    const uint64_t at = j % kPatternFloats;
    const Vec value = FilteredRows(rows, weights, count, j);
    const Vec scaled = Add(Times(value, Load(scale.scale + at)), Load(scale.shift + at));
    if (j + kLanes <= length) {
      Store(out + j, scaled);
      continue;
    }
    float rest[kLanes];
    Store(rest, scaled);
    for (uint32_t i = 0; j + i < length; ++i) out[j + i] = rest[i];
  }
}

void MixRows(const float* other, float weight, uint64_t length, float* own) {
  const Vec own_weight = Broadcast(weight);
  const Vec other_weight = Broadcast(1.0f - weight);
  uint64_t j = 0;
  for (; j + kLanes <= length; j += kLanes) {
    const Vec mixed = Add(Times(Load(own + j), own_weight), Times(Load(other + j), other_weight));
    Store(own + j, mixed);
  }
  for (; j < length; ++j) own[j] = own[j] * weight + other[j] * (1.0f - weight);
}
