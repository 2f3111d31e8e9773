// Sixteen rANS lanes at a time, for rans_simd.h. Included inside a target region and the namespace
// of its kernels.

struct SixteenWords {
  using Vector = __m512i;
  static constexpr uint32_t kWidth = 16;

  SOFTPACK_INLINE Vector Load(const uint32_t* from) { return _mm512_loadu_si512(from); }
  SOFTPACK_INLINE void Store(uint32_t* to, Vector a) { _mm512_storeu_si512(to, a); }

  SOFTPACK_INLINE Vector FirstEntries(const RansRow& row, uint64_t at) {
    const Vector first = _mm512_set1_epi32(static_cast<int>(row.first[0]));
    if (row.contexts == nullptr) return first;
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row.contexts + at));
    const Vector second = _mm512_set1_epi32(static_cast<int>(row.first[1]));
    return _mm512_mask_mov_epi32(first, _mm_test_epi8_mask(bytes, bytes), second);
  }

  SOFTPACK_INLINE Vector Gather(const uint32_t* tables, Vector first, Vector states) {
    const Vector slots = _mm512_and_si512(states, _mm512_set1_epi32(kRansSlots - 1));
    return _mm512_i32gather_epi32(_mm512_add_epi32(first, slots), tables, 4);
  }

  SOFTPACK_INLINE Vector Step(Vector states, Vector entries) {
    const Vector low = _mm512_set1_epi32(0xfff);
    const Vector frequency = _mm512_add_epi32(_mm512_and_si512(entries, low), _mm512_set1_epi32(1));
    const Vector rest = _mm512_and_si512(_mm512_srli_epi32(entries, 12), low);
    const Vector whole = _mm512_mullo_epi32(frequency, _mm512_srli_epi32(states, kRansBits));
    return _mm512_add_epi32(whole, rest);
  }

  SOFTPACK_INLINE void StoreValues(int16_t* to, Vector entries) {
    const __m256i values = _mm512_cvtepi32_epi16(_mm512_srai_epi32(entries, 24));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), values);
  }

  // Gives the next words to the states that need one; returns how many do.
  SOFTPACK_INLINE uint32_t Refill(Vector* states, const uint8_t* next) {
    const __mmask16 lanes = _mm512_cmplt_epu32_mask(*states, _mm512_set1_epi32(kRansLeast));
    const Vector words =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(next)));
    const Vector given = _mm512_maskz_expand_epi32(lanes, words);
    *states = _mm512_mask_or_epi32(*states, lanes, _mm512_slli_epi32(*states, 16), given);
    return static_cast<uint32_t>(__builtin_popcount(lanes));
  }
};

using LaneWords = SixteenWords;
