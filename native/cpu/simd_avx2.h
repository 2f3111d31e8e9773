// Eight floats at a time, for kernels_simd.h. Included inside a target region and the namespace of
// its kernels.
using Vec = __m256;

constexpr uint32_t kLanes = 8;
constexpr uint32_t kStripRows = 6;  // 6 x 16 accumulators fill 12 of 16 registers
constexpr uint32_t kPanelVectors = 2;
constexpr uint32_t kNearestRows = 6;
constexpr uint32_t kNearestVectors = 2;
constexpr uint32_t kInnerBlock = 256;  // a panel of 16 kB: half of L1
constexpr uint32_t kRowBlock = 96;     // a block of 96 kB: a part of L2

SOFTPACK_INLINE Vec Zero() { return _mm256_setzero_ps(); }
SOFTPACK_INLINE Vec Broadcast(float value) { return _mm256_set1_ps(value); }
SOFTPACK_INLINE Vec Load(const float* from) { return _mm256_loadu_ps(from); }
SOFTPACK_INLINE void Store(float* to, Vec a) { _mm256_storeu_ps(to, a); }
SOFTPACK_INLINE Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
SOFTPACK_INLINE Vec Subtract(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
SOFTPACK_INLINE Vec Times(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
// a where a > b, else b, also where one is NaN.
SOFTPACK_INLINE Vec Greater(Vec a, Vec b) { return _mm256_max_ps(a, b); }
SOFTPACK_INLINE Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
SOFTPACK_INLINE Vec NegatedFma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }

// 2^n from the low bits of n + 1.5 * 2^23.
SOFTPACK_INLINE Vec PowerOfTwo(Vec shifted) {
  const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}

SOFTPACK_INLINE void StoreHalf(uint16_t* to, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

// The least score of each lane and where it was.
struct Best {
  Vec score;
  __m256i index;
};

SOFTPACK_INLINE Best NoBest() { return {Broadcast(__builtin_inff()), _mm256_setzero_si256()}; }
SOFTPACK_INLINE Best BetterOf(Best best, Vec score, uint32_t first_index) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i index = _mm256_add_epi32(lane, _mm256_set1_epi32(static_cast<int>(first_index)));
  const Vec less = _mm256_cmp_ps(score, best.score, _CMP_LT_OQ);
  best.score = _mm256_min_ps(score, best.score);
  best.index = _mm256_blendv_epi8(best.index, index, _mm256_castps_si256(less));
  return best;
}
SOFTPACK_INLINE void StoreBest(Best best, float* scores, uint32_t* indices) {
  _mm256_storeu_ps(scores, best.score);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(indices), best.index);
}
