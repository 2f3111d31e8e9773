// Sixteen floats at a time, for kernels_simd.h. Included inside a target region and the namespace
// of its kernels.
using Vec = __m512;

constexpr uint32_t kLanes = 16;
constexpr uint32_t kStripRows = 8;  // 8 x 48 accumulators fill 24 of 32 registers
constexpr uint32_t kPanelVectors = 3;
constexpr uint32_t kNearestRows = 8;
constexpr uint32_t kNearestVectors = 2;
constexpr uint32_t kInnerBlock = 256;  // a panel of 48 kB: L2, read once a strip
constexpr uint32_t kSumVectors = 16;   // of 32 registers
constexpr uint32_t kRowBlock = 128;    // a block of 128 kB: a part of L2

SOFTPACK_INLINE Vec Zero() { return _mm512_setzero_ps(); }
SOFTPACK_INLINE Vec Broadcast(float value) { return _mm512_set1_ps(value); }
SOFTPACK_INLINE Vec Load(const float* from) { return _mm512_loadu_ps(from); }
SOFTPACK_INLINE void Store(float* to, Vec a) { _mm512_storeu_ps(to, a); }
SOFTPACK_INLINE Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
SOFTPACK_INLINE Vec Subtract(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
SOFTPACK_INLINE Vec Times(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
// a where a > b, else b, also where one is NaN.
SOFTPACK_INLINE Vec Greater(Vec a, Vec b) { return _mm512_max_ps(a, b); }
// a where a < b, else b.
SOFTPACK_INLINE Vec Less(Vec a, Vec b) { return _mm512_min_ps(a, b); }
SOFTPACK_INLINE Vec Negated(Vec a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
SOFTPACK_INLINE Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
SOFTPACK_INLINE Vec NegatedFma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }

// 2^n from the low bits of n + 1.5 * 2^23.
SOFTPACK_INLINE Vec PowerOfTwo(Vec shifted) {
  const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}

SOFTPACK_INLINE __m256i HalfOf(Vec a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT); }

SOFTPACK_INLINE __m256i BfloatOf(Vec a) {
  const __m512i bits = _mm512_castps_si512(a);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i even = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i biased = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
  const __m512i rounded = _mm512_mask_mov_epi32(_mm512_srli_epi32(biased, 16),
                                                _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), quiet);
  return _mm512_cvtepi32_epi16(rounded);
}

SOFTPACK_INLINE Vec LoadBfloat(const uint16_t* from) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

SOFTPACK_INLINE void StoreHalf(uint16_t* to, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), HalfOf(a));
}
SOFTPACK_INLINE void StoreBfloat(uint16_t* to, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), BfloatOf(a));
}
SOFTPACK_INLINE void Stream(float* to, Vec a) { _mm512_stream_ps(to, a); }
SOFTPACK_INLINE void StreamHalf(uint16_t* to, Vec a) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), HalfOf(a));
}
SOFTPACK_INLINE void StreamBfloat(uint16_t* to, Vec a) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), BfloatOf(a));
}
SOFTPACK_INLINE void StreamFence() { _mm_sfence(); }

// x = 2^n * result, result in [sqrt(1/2), sqrt(2)).
SOFTPACK_INLINE Vec Significand(Vec x, Vec* n) {
  const __m512i offset = _mm512_set1_epi32(0x3f3504f3);
  const __m512i shifted = _mm512_sub_epi32(_mm512_castps_si512(x), offset);
  *n = _mm512_cvtepi32_ps(_mm512_srai_epi32(shifted, 23));
  const __m512i rest = _mm512_and_si512(shifted, _mm512_set1_epi32(0x007fffff));
  return _mm512_castsi512_ps(_mm512_add_epi32(rest, offset));
}

// The first `count` lanes; zeros after them.
SOFTPACK_INLINE Vec FirstLanes(Vec a, uint32_t count) {
  const __mmask16 kept = static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
  return _mm512_maskz_mov_ps(kept, a);
}

// The first `count` floats and nothing beyond them, `rest` in the other lanes.
SOFTPACK_INLINE Vec LoadFirst(const float* from, uint32_t count, Vec rest) {
  const __mmask16 kept = static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
  return _mm512_mask_loadu_ps(rest, kept, from);
}

// Lanes i and i + 8, then i and i + 4, ... 0 and 1.
SOFTPACK_INLINE float SumOfLanes(Vec a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// To the nearest integer, ties to even.
SOFTPACK_INLINE Vec Rounded(Vec a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// a * 2^n for a whole n; normal numbers both.
SOFTPACK_INLINE Vec Scaled(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }

// x = 2^(n - 10) * result, result in [1, 2); the entries of its sixteenth in two tables.
SOFTPACK_INLINE Vec Sixteenths(Vec x, const float* first, const float* second, Vec* n,
                               Vec* of_first, Vec* of_second) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i exponent =
      _mm512_or_si512(_mm512_srli_epi32(bits, 23), _mm512_set1_epi32(0x4b000000));
  *n = _mm512_sub_ps(_mm512_castsi512_ps(exponent), _mm512_set1_ps(8388725.0f));
  const __m512i part = _mm512_srli_epi32(bits, 19);
  *of_first = _mm512_permutexvar_ps(part, _mm512_loadu_ps(first));
  *of_second = _mm512_permutexvar_ps(part, _mm512_loadu_ps(second));
  // (bits & mask) | one
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bits, _mm512_set1_epi32(0x007fffff),
                                                       _mm512_set1_epi32(0x3f800000), 0xea));
}

// 32 16-bit sums.
using Words = __m512i;
SOFTPACK_INLINE Words LoadElements(const int16_t* from) { return _mm512_loadu_si512(from); }
SOFTPACK_INLINE void StoreElements(int16_t* to, Words a) { _mm512_storeu_si512(to, a); }
SOFTPACK_INLINE Words AddElements(Words a, Words b) { return _mm512_add_epi16(a, b); }
// 65536 times each second sum, from the first and from the second on.
SOFTPACK_INLINE Vec LowFloats(Words a) { return _mm512_cvtepi32_ps(_mm512_slli_epi32(a, 16)); }
SOFTPACK_INLINE Vec HighFloats(Words a) {
  return _mm512_cvtepi32_ps(_mm512_and_si512(a, _mm512_set1_epi32(-65536)));
}
SOFTPACK_INLINE Words ToWords(Vec low, Vec high) {
  const __m512i low_half = _mm512_and_si512(_mm512_cvtps_epi32(low), _mm512_set1_epi32(0xffff));
  return _mm512_or_si512(low_half, _mm512_slli_epi32(_mm512_cvtps_epi32(high), 16));
}

// The least score of each lane and where it was.
struct Best {
  Vec score;
  __m512i index;
};

SOFTPACK_INLINE Best NoBest() { return {Broadcast(__builtin_inff()), _mm512_setzero_si512()}; }
SOFTPACK_INLINE Best BetterOf(Best best, Vec score, uint32_t first_index) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i index = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(first_index)));
  const __mmask16 less = _mm512_cmp_ps_mask(score, best.score, _CMP_LT_OQ);
  best.score = _mm512_min_ps(score, best.score);
  best.index = _mm512_mask_mov_epi32(best.index, less, index);
  return best;
}
// The lowest index of the least score.
SOFTPACK_INLINE uint16_t LowestOfBest(Best best) {
  const __m512 least = _mm512_set1_ps(_mm512_reduce_min_ps(best.score));
  const __mmask16 equal = _mm512_cmp_ps_mask(best.score, least, _CMP_EQ_OQ);
  return static_cast<uint16_t>(_mm512_mask_reduce_min_epu32(equal, best.index));
}

// (a * weight_a + b * weight_b + 2^5) / 2^6, rounded down, of 16 integers.
SOFTPACK_INLINE Vec BlendRounded(const int32_t* a, const int32_t* b, int32_t weight_a,
                                 int32_t weight_b) {
  const __m512i first = _mm512_mullo_epi32(_mm512_loadu_si512(a), _mm512_set1_epi32(weight_a));
  const __m512i second = _mm512_mullo_epi32(_mm512_loadu_si512(b), _mm512_set1_epi32(weight_b));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(first, second), _mm512_set1_epi32(32));
  return _mm512_cvtepi32_ps(_mm512_srai_epi32(sum, 6));
}

// 16 integers.
using Integers = __m512i;
SOFTPACK_INLINE Integers BroadcastInteger(int32_t value) { return _mm512_set1_epi32(value); }
SOFTPACK_INLINE Integers AddProduct(Integers sum, const int32_t* row, int32_t weight) {
  const Integers values = _mm512_loadu_si512(row);
  return _mm512_add_epi32(sum, _mm512_mullo_epi32(values, _mm512_set1_epi32(weight)));
}
// sum / 2^Bits, at most 255.
template <int Bits>
SOFTPACK_INLINE Vec ShiftedPixel(Integers sum) {
  const Integers shifted = _mm512_srai_epi32(sum, Bits);
  return _mm512_cvtepi32_ps(_mm512_min_epi32(shifted, _mm512_set1_epi32(255)));
}
