// Two float64 at a time, for quantiser_simd.h. Included inside the namespace of its kernels.

struct Doubles {
  using Vector = float64x2_t;
  using Mask = uint64x2_t;
  static constexpr uint32_t kWidth = 2;

  SOFTPACK_INLINE Vector Set(double value) { return vdupq_n_f64(value); }
  // Elements 0 and stride.
  SOFTPACK_INLINE Vector Strided(const float* from, uint64_t stride) {
    const double two[] = {from[0], from[stride]};
    return vld1q_f64(two);
  }
  SOFTPACK_INLINE Vector Gather(const double* from, Vector index) {
    const int64x2_t at = vcvtq_s64_f64(index);
    const double two[] = {from[vgetq_lane_s64(at, 0)], from[vgetq_lane_s64(at, 1)]};
    return vld1q_f64(two);
  }
  SOFTPACK_INLINE void Store(double* to, Vector a) { vst1q_f64(to, a); }
  SOFTPACK_INLINE void StoreIntegers(int32_t* to, Vector a) {
    vst1_s32(to, vmovn_s64(vcvtq_s64_f64(a)));
  }

  SOFTPACK_INLINE Vector Plus(Vector a, Vector b) { return vaddq_f64(a, b); }
  SOFTPACK_INLINE Vector Minus(Vector a, Vector b) { return vsubq_f64(a, b); }
  SOFTPACK_INLINE Vector Times(Vector a, Vector b) { return vmulq_f64(a, b); }
  SOFTPACK_INLINE Vector Floor(Vector a) { return vrndmq_f64(a); }
  SOFTPACK_INLINE Vector Magnitude(Vector a) { return vabsq_f64(a); }
  // a where it is less than b, else b, also where a is NaN.
  SOFTPACK_INLINE Vector AtMost(Vector a, Vector b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
  SOFTPACK_INLINE Vector Negate(Mask where, Vector a) { return vbslq_f64(where, vnegq_f64(a), a); }

  SOFTPACK_INLINE Mask Less(Vector a, Vector b) { return vcltq_f64(a, b); }
  SOFTPACK_INLINE Mask NotAtLeast(Vector a, Vector b) {
    const uint64x2_t all = vdupq_n_u64(~uint64_t{0});
    return veorq_u64(vcgeq_f64(a, b), all);
  }
  // b where the mask says so, else a.
  SOFTPACK_INLINE Vector Blend(Mask mask, Vector a, Vector b) { return vbslq_f64(mask, b, a); }
  SOFTPACK_INLINE uint32_t Bits(Mask mask) {
    return static_cast<uint32_t>((vgetq_lane_u64(mask, 0) & 1) | (vgetq_lane_u64(mask, 1) & 2));
  }
};
