// Eight float64 at a time, for quantiser_simd.h. Included inside a target region and the namespace
// of its kernels.

struct Doubles {
  using Vector = __m512d;
  using Mask = __mmask8;
  static constexpr uint32_t kWidth = 8;

  SOFTPACK_INLINE Vector Set(double value) { return _mm512_set1_pd(value); }
  // Elements 0, stride, 2 * stride, ...
  SOFTPACK_INLINE Vector Strided(const float* from, uint64_t stride) {
    const __m512i lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i at = _mm512_mullo_epi64(lanes, _mm512_set1_epi64(static_cast<int64_t>(stride)));
    return _mm512_cvtps_pd(_mm512_i64gather_ps(at, from, 4));
  }
  SOFTPACK_INLINE Vector Gather(const double* from, Vector index) {
    return _mm512_i32gather_pd(_mm512_cvtpd_epi32(index), from, 8);
  }
  SOFTPACK_INLINE void Store(double* to, Vector a) { _mm512_storeu_pd(to, a); }
  SOFTPACK_INLINE void StoreIntegers(int32_t* to, Vector a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtpd_epi32(a));
  }

  SOFTPACK_INLINE Vector Plus(Vector a, Vector b) { return _mm512_add_pd(a, b); }
  SOFTPACK_INLINE Vector Minus(Vector a, Vector b) { return _mm512_sub_pd(a, b); }
  SOFTPACK_INLINE Vector Times(Vector a, Vector b) { return _mm512_mul_pd(a, b); }
  SOFTPACK_INLINE Vector Floor(Vector a) { return _mm512_floor_pd(a); }
  SOFTPACK_INLINE Vector Magnitude(Vector a) { return _mm512_abs_pd(a); }
  // a where it is less than b, else b, also where a is NaN.
  SOFTPACK_INLINE Vector AtMost(Vector a, Vector b) { return _mm512_min_pd(a, b); }
  SOFTPACK_INLINE Vector Negate(Mask where, Vector a) {
    return _mm512_mask_sub_pd(a, where, _mm512_setzero_pd(), a);
  }

  SOFTPACK_INLINE Mask Less(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  SOFTPACK_INLINE Mask NotAtLeast(Vector a, Vector b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_NGE_UQ);
  }
  // b where the mask says so, else a.
  SOFTPACK_INLINE Vector Blend(Mask mask, Vector a, Vector b) {
    return _mm512_mask_blend_pd(mask, a, b);
  }
  SOFTPACK_INLINE uint32_t Bits(Mask mask) { return mask; }
};
