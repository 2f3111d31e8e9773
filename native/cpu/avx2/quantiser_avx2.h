// Four float64 at a time, for quantiser_simd.h. Included inside a target region and the namespace
// of its kernels.

struct Doubles {
  using Vector = __m256d;
  using Mask = __m256d;
  static constexpr uint32_t kWidth = 4;

  SOFTPACK_INLINE Vector Set(double value) { return _mm256_set1_pd(value); }
  // Elements 0, stride, 2 * stride and 3 * stride.
  SOFTPACK_INLINE Vector Strided(const float* from, uint64_t stride) {
    const __m128 four = _mm_setr_ps(from[0], from[stride], from[2 * stride], from[3 * stride]);
    return _mm256_cvtps_pd(four);
  }
  SOFTPACK_INLINE Vector Gather(const double* from, Vector index) {
    return _mm256_i32gather_pd(from, _mm256_cvtpd_epi32(index), 8);
  }
  SOFTPACK_INLINE void Store(double* to, Vector a) { _mm256_storeu_pd(to, a); }
  SOFTPACK_INLINE void StoreIntegers(int32_t* to, Vector a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtpd_epi32(a));
  }

  SOFTPACK_INLINE Vector Plus(Vector a, Vector b) { return _mm256_add_pd(a, b); }
  SOFTPACK_INLINE Vector Minus(Vector a, Vector b) { return _mm256_sub_pd(a, b); }
  SOFTPACK_INLINE Vector Times(Vector a, Vector b) { return _mm256_mul_pd(a, b); }
  SOFTPACK_INLINE Vector Floor(Vector a) { return _mm256_floor_pd(a); }
  SOFTPACK_INLINE Vector Magnitude(Vector a) { return _mm256_andnot_pd(Set(-0.0), a); }
  // a where it is less than b, else b, also where a is NaN.
  SOFTPACK_INLINE Vector AtMost(Vector a, Vector b) { return _mm256_min_pd(a, b); }
  SOFTPACK_INLINE Vector Negate(Mask where, Vector a) {
    return _mm256_xor_pd(a, _mm256_and_pd(where, Set(-0.0)));
  }

  SOFTPACK_INLINE Mask Less(Vector a, Vector b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
  SOFTPACK_INLINE Mask NotAtLeast(Vector a, Vector b) { return _mm256_cmp_pd(a, b, _CMP_NGE_UQ); }
  // b where the mask says so, else a.
  SOFTPACK_INLINE Vector Blend(Mask mask, Vector a, Vector b) {
    return _mm256_blendv_pd(a, b, mask);
  }
  SOFTPACK_INLINE uint32_t Bits(Mask mask) {
    return static_cast<uint32_t>(_mm256_movemask_pd(mask));
  }
};
