// Pixels and states of a trellis, bytes both, for augment_simd.h and rans_simd.h: 16 bytes are
// enough for either on any x86 processor. Included inside a target region and the namespace of its
// kernels.

SOFTPACK_INLINE __m128i LoadPixel(const uint8_t* from) {
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return _mm_cvtsi32_si128(word);
}

// Bytes of two pixels pairwise, in one multiply-add of 16-bit words. The fourth sum is of no use.
SOFTPACK_INLINE void ResizePixel(const uint8_t* left, const uint8_t* right, uint32_t weights,
                                 int32_t* sums) {
  const __m128i bytes = _mm_unpacklo_epi8(LoadPixel(left), LoadPixel(right));
  const __m128i pairs = _mm_set1_epi32(static_cast<int32_t>(weights));
  const __m128i weighed = _mm_madd_epi16(_mm_cvtepu8_epi16(bytes), pairs);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(sums), weighed);
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

// 16 columns of the trellis: a state is a byte, and both tables fit into a byte shuffle.
SOFTPACK_INLINE void AdvanceSixteen(const RansTrellis& trellis, const int16_t* values,
                                    uint8_t* states, uint8_t* contexts) {
  const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(trellis.next));
  const __m128i context = _mm_loadu_si128(reinterpret_cast<const __m128i*>(trellis.context));
  const __m128i one = _mm_set1_epi16(1);
  const __m128i* const from = reinterpret_cast<const __m128i*>(values);
  const __m128i parity = _mm_packus_epi16(_mm_and_si128(_mm_loadu_si128(from), one),
                                          _mm_and_si128(_mm_loadu_si128(from + 1), one));
  __m128i* const state = reinterpret_cast<__m128i*>(states);
  const __m128i now = _mm_loadu_si128(state);
  const __m128i moved = _mm_shuffle_epi8(next, _mm_add_epi8(_mm_add_epi8(now, now), parity));
  _mm_storeu_si128(state, moved);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(contexts), _mm_shuffle_epi8(context, moved));
}
