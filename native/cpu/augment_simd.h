// Kernels on pixels, over the vectors of a simd_<isa>.h; included by kernels_simd.h.
//
// resize_columns gathers: a pixel's two neighbours lie anywhere in the row, so each output pixel
// loads both as 32-bit words and weighs the bytes pairwise in one multiply-add of 16-bit words.
// blend_rows runs over whole vectors of a row, all channels alike. The filters do the same with any
// number of source pixels.

SOFTPACK_INLINE __m128i LoadPixel(const uint8_t* from) {
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return _mm_cvtsi32_si128(word);
}

void ResizeColumns(const uint8_t* row, const ColumnTap* taps, uint64_t pixels, int32_t* sums) {
  for (uint64_t i = 0; i < pixels; ++i) {
    const ColumnTap tap = taps[i];
    const __m128i bytes = _mm_unpacklo_epi8(LoadPixel(row + tap.left), LoadPixel(row + tap.right));
    const __m128i weights = _mm_set1_epi32(static_cast<int32_t>(tap.weights));
    const __m128i weighed = _mm_madd_epi16(_mm_cvtepu8_epi16(bytes), weights);
    // The fourth sum is overwritten by the next pixel's first.
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + 3 * i), weighed);
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

// The pixels of a tap times their weights; the fourth sum is of no use.
SOFTPACK_INLINE void FilterPixel(const uint8_t* from, const float* weights, uint32_t count,
                                 float* out) {
  __m128 sum = _mm_setzero_ps();
  for (uint32_t k = 0; k < count; ++k) {
    const __m128 pixel = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(LoadPixel(from + 3 * k)));
    sum = _mm_add_ps(sum, _mm_mul_ps(pixel, _mm_set1_ps(weights[k])));
  }
  _mm_storeu_ps(out, sum);
}

SOFTPACK_INLINE void FilterPixel(const uint8_t* from, const int32_t* weights, uint32_t count,
                                 int32_t* out) {
  __m128i sum = _mm_set1_epi32(kFilterHalf);
  for (uint32_t k = 0; k < count; ++k) {
    const __m128i pixel = _mm_cvtepu8_epi32(LoadPixel(from + 3 * k));
    sum = _mm_add_epi32(sum, _mm_mullo_epi32(pixel, _mm_set1_epi32(weights[k])));
  }
  const __m128i value = _mm_min_epi32(_mm_srai_epi32(sum, kFilterBits), _mm_set1_epi32(255));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), value);
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
