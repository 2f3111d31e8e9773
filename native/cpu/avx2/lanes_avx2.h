// Masks, integers and sums across the lanes of eight floats, for cells_simd.h. Included after
// simd_avx2.h.
SOFTPACK_INLINE Vec SquareRoot(Vec a) { return _mm256_sqrt_ps(a); }

// 8 unsigned integers, and all bits of a lane or none.
using Lanes = __m256i;
using Mask = __m256;
SOFTPACK_INLINE Lanes LaneNumbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
SOFTPACK_INLINE Lanes BroadcastLanes(uint32_t value) {
  return _mm256_set1_epi32(static_cast<int>(value));
}
SOFTPACK_INLINE Lanes LoadLanes(const uint32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
SOFTPACK_INLINE void StoreLanes(uint32_t* to, Lanes a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
}
SOFTPACK_INLINE Lanes AddLanes(Lanes a, Lanes b) { return _mm256_add_epi32(a, b); }
SOFTPACK_INLINE Lanes Lower(Lanes a, Lanes b) { return _mm256_min_epu32(a, b); }
SOFTPACK_INLINE Lanes AsLanes(Vec a) { return _mm256_castps_si256(a); }
SOFTPACK_INLINE Vec AsFloats(Lanes a) { return _mm256_castsi256_ps(a); }
// False where one is NaN.
SOFTPACK_INLINE Mask IsLess(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
SOFTPACK_INLINE Mask IsAtMost(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
SOFTPACK_INLINE Mask IsEqual(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
SOFTPACK_INLINE Mask AreSame(Lanes a, Lanes b) { return AsFloats(_mm256_cmpeq_epi32(a, b)); }
// a is lower unless b is the least of the two.
SOFTPACK_INLINE Mask IsLower(Lanes a, Lanes b) {
  return _mm256_xor_ps(AreSame(Lower(a, b), b), AsFloats(BroadcastLanes(~0u)));
}
SOFTPACK_INLINE Mask And(Mask a, Mask b) { return _mm256_and_ps(a, b); }
SOFTPACK_INLINE Mask Or(Mask a, Mask b) { return _mm256_or_ps(a, b); }
SOFTPACK_INLINE Mask Without(Mask a, Mask b) { return _mm256_andnot_ps(b, a); }
SOFTPACK_INLINE uint32_t BitsOf(Mask a) { return static_cast<uint32_t>(_mm256_movemask_ps(a)); }
SOFTPACK_INLINE Vec Choose(Mask which, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, which); }
SOFTPACK_INLINE Lanes ChooseLanes(Mask which, Lanes yes, Lanes no) {
  return AsLanes(Choose(which, AsFloats(yes), AsFloats(no)));
}

// For each choice of lanes, their numbers one behind the other.
struct ChosenLanes {
  uint8_t numbers[256][8];
  constexpr ChosenLanes() : numbers() {
    for (uint32_t which = 0; which < 256; ++which) {
      uint32_t count = 0;
      for (uint8_t lane = 0; lane < 8; ++lane) {
        if ((which >> lane & 1) != 0) numbers[which][count++] = lane;
      }
    }
  }
};
constexpr ChosenLanes kChosenLanes;

// Stores the chosen lanes one behind the other, and what follows up to 8. Returns how many.
SOFTPACK_INLINE uint32_t AppendWhere(uint32_t* to, Mask which, Lanes a) {
  const uint32_t bits = BitsOf(which);
  const __m128i numbers =
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kChosenLanes.numbers[bits]));
  StoreLanes(to, _mm256_permutevar8x32_epi32(a, _mm256_cvtepu8_epi32(numbers)));
  return static_cast<uint32_t>(__builtin_popcount(bits));
}

// Lane i = all lanes of rows[i], combined. Each step halves what is left of a row and the number of
// vectors: 128-bit halves of two rows side by side, then pairs, then single lanes.
template <class Operation>
SOFTPACK_INLINE Vec CombineLanes(const Vec* rows) {
  Vec halves[4];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    const Vec a = rows[i], b = rows[i + 4];
    halves[i] =
        Operation::Of(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
  Vec pairs[2];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    const Vec a = halves[2 * i], b = halves[2 * i + 1];
    pairs[i] = Operation::Of(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  }
  // Lanes of a half are now rows 0 1 0 1 and 2 3 2 3.
  return Operation::Of(_mm256_shuffle_ps(pairs[0], pairs[1], 0x44),
                       _mm256_shuffle_ps(pairs[0], pairs[1], 0xee));
}
