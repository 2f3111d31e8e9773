// Masks, integers and sums across the lanes of sixteen floats, for cells_simd.h. Included after
// simd_avx512.h.
SOFTPACK_INLINE Vec SquareRoot(Vec a) { return _mm512_sqrt_ps(a); }

// 16 unsigned integers, and a bit per lane.
using Lanes = __m512i;
using Mask = __mmask16;
SOFTPACK_INLINE Lanes LaneNumbers() {
  return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
SOFTPACK_INLINE Lanes BroadcastLanes(uint32_t value) {
  return _mm512_set1_epi32(static_cast<int>(value));
}
SOFTPACK_INLINE Lanes LoadLanes(const uint32_t* from) { return _mm512_loadu_si512(from); }
SOFTPACK_INLINE void StoreLanes(uint32_t* to, Lanes a) { _mm512_storeu_si512(to, a); }
SOFTPACK_INLINE Lanes AddLanes(Lanes a, Lanes b) { return _mm512_add_epi32(a, b); }
SOFTPACK_INLINE Lanes Lower(Lanes a, Lanes b) { return _mm512_min_epu32(a, b); }
SOFTPACK_INLINE Lanes AsLanes(Vec a) { return _mm512_castps_si512(a); }
SOFTPACK_INLINE Vec AsFloats(Lanes a) { return _mm512_castsi512_ps(a); }
// False where one is NaN.
SOFTPACK_INLINE Mask IsLess(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
SOFTPACK_INLINE Mask IsAtMost(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
SOFTPACK_INLINE Mask IsEqual(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
SOFTPACK_INLINE Mask IsLower(Lanes a, Lanes b) { return _mm512_cmplt_epu32_mask(a, b); }
SOFTPACK_INLINE Mask AreSame(Lanes a, Lanes b) { return _mm512_cmpeq_epi32_mask(a, b); }
SOFTPACK_INLINE Mask And(Mask a, Mask b) { return static_cast<Mask>(a & b); }
SOFTPACK_INLINE Mask Or(Mask a, Mask b) { return static_cast<Mask>(a | b); }
SOFTPACK_INLINE Mask Without(Mask a, Mask b) { return static_cast<Mask>(a & ~b); }
SOFTPACK_INLINE uint32_t BitsOf(Mask a) { return a; }
SOFTPACK_INLINE Vec Choose(Mask which, Vec yes, Vec no) {
  return _mm512_mask_mov_ps(no, which, yes);
}
SOFTPACK_INLINE Lanes ChooseLanes(Mask which, Lanes yes, Lanes no) {
  return _mm512_mask_mov_epi32(no, which, yes);
}
// Stores the chosen lanes one behind the other, and what follows up to 16. Returns how many.
SOFTPACK_INLINE uint32_t AppendWhere(uint32_t* to, Mask which, Lanes a) {
  // Not straight to memory: that form takes a hundred cycles on some processors.
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(which, a));
  return static_cast<uint32_t>(__builtin_popcount(which));
}

// Lane i = all lanes of rows[i], combined. Each step halves what is left of a row and the number of
// vectors: 128-bit quarters of four rows side by side, then pairs, then single lanes.
template <class Operation>
SOFTPACK_INLINE Vec CombineLanes(const Vec* rows) {
  Vec quarters[4];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    Vec halves[2];
    SOFTPACK_UNROLL
    for (uint32_t j = 0; j < 2; ++j) {
      // Rows i, i + 4, i + 8, i + 12 end in quarters 0 to 3.
      const Vec a = rows[i + 8 * j], b = rows[i + 8 * j + 4];
      halves[j] = Operation::Of(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    }
    quarters[i] = Operation::Of(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                                _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
  }
  Vec pairs[2];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    const Vec a = quarters[2 * i], b = quarters[2 * i + 1];
    pairs[i] = Operation::Of(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  // Lanes of a quarter are now rows 0 1 0 1 and 2 3 2 3.
  return Operation::Of(_mm512_shuffle_ps(pairs[0], pairs[1], 0x44),
                       _mm512_shuffle_ps(pairs[0], pairs[1], 0xee));
}
