// Eight floats at a time, for kernels_simd.h. Included inside a target region and the namespace of
// its kernels.
using Vec = __m256;

constexpr uint32_t kLanes = 8;
constexpr uint32_t kStripRows = 6;  // 6 x 16 accumulators fill 12 of 16 registers
constexpr uint32_t kPanelVectors = 2;
constexpr uint32_t kNearestRows = 6;
constexpr uint32_t kNearestVectors = 2;
constexpr uint32_t kInnerBlock = 256;  // a panel of 16 kB: half of L1
constexpr uint32_t kSumVectors = 8;    // of 16 registers
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
// a where a < b, else b.
SOFTPACK_INLINE Vec Less(Vec a, Vec b) { return _mm256_min_ps(a, b); }
SOFTPACK_INLINE Vec Negated(Vec a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
SOFTPACK_INLINE Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
SOFTPACK_INLINE Vec NegatedFma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }

// 2^n from the low bits of n + 1.5 * 2^23.
SOFTPACK_INLINE Vec PowerOfTwo(Vec shifted) {
  const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}

SOFTPACK_INLINE __m128i HalfOf(Vec a) { return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT); }

SOFTPACK_INLINE __m128i BfloatOf(Vec a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i even = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i biased = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const __m256i rounded = _mm256_blendv_epi8(_mm256_srli_epi32(biased, 16), quiet, unordered);
  const __m256i packed = _mm256_packus_epi32(rounded, rounded);
  const __m256i joined = _mm256_permute4x64_epi64(packed, 0x08);
  return _mm256_castsi256_si128(joined);
}

SOFTPACK_INLINE Vec LoadBfloat(const uint16_t* from) {
  const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
}

SOFTPACK_INLINE void StoreHalf(uint16_t* to, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), HalfOf(a));
}
SOFTPACK_INLINE void StoreBfloat(uint16_t* to, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), BfloatOf(a));
}
SOFTPACK_INLINE void Stream(float* to, Vec a) { _mm256_stream_ps(to, a); }
SOFTPACK_INLINE void StreamHalf(uint16_t* to, Vec a) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), HalfOf(a));
}
SOFTPACK_INLINE void StreamBfloat(uint16_t* to, Vec a) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), BfloatOf(a));
}
SOFTPACK_INLINE void StreamFence() { _mm_sfence(); }

// x = 2^n * result, result in [sqrt(1/2), sqrt(2)).
SOFTPACK_INLINE Vec Significand(Vec x, Vec* n) {
  const __m256i offset = _mm256_set1_epi32(0x3f3504f3);
  const __m256i shifted = _mm256_sub_epi32(_mm256_castps_si256(x), offset);
  *n = _mm256_cvtepi32_ps(_mm256_srai_epi32(shifted, 23));
  const __m256i rest = _mm256_and_si256(shifted, _mm256_set1_epi32(0x007fffff));
  return _mm256_castsi256_ps(_mm256_add_epi32(rest, offset));
}

// The first `count` lanes; zeros after them.
SOFTPACK_INLINE Vec FirstLanes(Vec a, uint32_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
  return _mm256_and_ps(a, _mm256_castsi256_ps(kept));
}

// The first `count` floats and nothing beyond them, `rest` in the other lanes.
SOFTPACK_INLINE Vec LoadFirst(const float* from, uint32_t count, Vec rest) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(from, kept), _mm256_castsi256_ps(kept));
}

// Lanes i and i + 4, then i and i + 2, 0 and 1.
SOFTPACK_INLINE float SumOfLanes(Vec a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// To the nearest integer, ties to even.
SOFTPACK_INLINE Vec Rounded(Vec a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// a * 2^n for a whole n; normal numbers both.
SOFTPACK_INLINE Vec Scaled(Vec a, Vec n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}

// x = 2^(n - 10) * result, result in [1, 2); the entries of its sixteenth in two tables.
SOFTPACK_INLINE Vec Sixteenths(Vec x, const float* first, const float* second, Vec* n,
                               Vec* of_first, Vec* of_second) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i exponent =
      _mm256_or_si256(_mm256_srli_epi32(bits, 23), _mm256_set1_epi32(0x4b000000));
  *n = _mm256_sub_ps(_mm256_castsi256_ps(exponent), _mm256_set1_ps(8388725.0f));
  const __m256i part = _mm256_srli_epi32(bits, 19);
  // The highest of the four bits, as a sign.
  const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 9));
  const auto entry = [&](const float* table) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), part),
                            _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), part), upper);
  };
  *of_first = entry(first);
  *of_second = entry(second);
  const __m256i significand = _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff));
  return _mm256_castsi256_ps(_mm256_or_si256(significand, _mm256_set1_epi32(0x3f800000)));
}

// 16 16-bit sums.
using Words = __m256i;
SOFTPACK_INLINE Words LoadElements(const int16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
SOFTPACK_INLINE void StoreElements(int16_t* to, Words a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
}
SOFTPACK_INLINE Words AddElements(Words a, Words b) { return _mm256_add_epi16(a, b); }
// 65536 times each second sum, from the first and from the second on.
SOFTPACK_INLINE Vec LowFloats(Words a) { return _mm256_cvtepi32_ps(_mm256_slli_epi32(a, 16)); }
SOFTPACK_INLINE Vec HighFloats(Words a) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(a, _mm256_set1_epi32(-65536)));
}
SOFTPACK_INLINE Words ToWords(Vec low, Vec high) {
  const __m256i low_half = _mm256_and_si256(_mm256_cvtps_epi32(low), _mm256_set1_epi32(0xffff));
  return _mm256_or_si256(low_half, _mm256_slli_epi32(_mm256_cvtps_epi32(high), 16));
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

// (a * weight_a + b * weight_b + 2^5) / 2^6, rounded down, of 8 integers.
SOFTPACK_INLINE Vec BlendRounded(const int32_t* a, const int32_t* b, int32_t weight_a,
                                 int32_t weight_b) {
  const __m256i first = _mm256_mullo_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)),
                                           _mm256_set1_epi32(weight_a));
  const __m256i second = _mm256_mullo_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)),
                                            _mm256_set1_epi32(weight_b));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(first, second), _mm256_set1_epi32(32));
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(sum, 6));
}

// 8 integers.
using Integers = __m256i;
SOFTPACK_INLINE Integers BroadcastInteger(int32_t value) { return _mm256_set1_epi32(value); }
SOFTPACK_INLINE Integers AddProduct(Integers sum, const int32_t* row, int32_t weight) {
  const Integers values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
  return _mm256_add_epi32(sum, _mm256_mullo_epi32(values, _mm256_set1_epi32(weight)));
}
// sum / 2^Bits, at most 255.
template <int Bits>
SOFTPACK_INLINE Vec ShiftedPixel(Integers sum) {
  const Integers shifted = _mm256_srai_epi32(sum, Bits);
  return _mm256_cvtepi32_ps(_mm256_min_epi32(shifted, _mm256_set1_epi32(255)));
}
