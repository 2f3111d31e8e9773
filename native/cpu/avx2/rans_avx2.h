// Eight rANS lanes at a time, for rans_simd.h. Included inside a target region and the namespace of
// its kernels.

// For each set of lanes, 4 bits a lane: which of the words read goes to it.
struct LaneOrders {
  uint32_t of[256];
};

constexpr LaneOrders MakeLaneOrders() {
  LaneOrders orders = {};
  for (uint32_t lanes = 0; lanes < 256; ++lanes) {
    uint32_t word = 0;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      if ((lanes >> lane & 1) != 0) orders.of[lanes] |= word++ << 4 * lane;
    }
  }
  return orders;
}

constexpr LaneOrders kLaneOrders = MakeLaneOrders();

struct EightWords {
  using Vector = __m256i;
  static constexpr uint32_t kWidth = 8;

  SOFTPACK_INLINE Vector Load(const uint32_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  SOFTPACK_INLINE void Store(uint32_t* to, Vector a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
  }

  SOFTPACK_INLINE Vector FirstEntries(const RansRow& row, uint64_t at) {
    const Vector first = _mm256_set1_epi32(static_cast<int>(row.first[0]));
    if (row.contexts == nullptr) return first;
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row.contexts + at));
    const Vector other = _mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_setzero_si256());
    const Vector second = _mm256_set1_epi32(static_cast<int>(row.first[1]));
    return _mm256_blendv_epi8(first, second, other);
  }

  SOFTPACK_INLINE Vector Gather(const uint32_t* tables, Vector first, Vector states) {
    const Vector slots = _mm256_and_si256(states, _mm256_set1_epi32(kRansSlots - 1));
    return _mm256_i32gather_epi32(reinterpret_cast<const int*>(tables),
                                  _mm256_add_epi32(first, slots), 4);
  }

  SOFTPACK_INLINE Vector Step(Vector states, Vector entries) {
    const Vector low = _mm256_set1_epi32(0xfff);
    const Vector frequency = _mm256_add_epi32(_mm256_and_si256(entries, low), _mm256_set1_epi32(1));
    const Vector rest = _mm256_and_si256(_mm256_srli_epi32(entries, 12), low);
    const Vector whole = _mm256_mullo_epi32(frequency, _mm256_srli_epi32(states, kRansBits));
    return _mm256_add_epi32(whole, rest);
  }

  SOFTPACK_INLINE void StoreValues(int16_t* to, Vector entries) {
    const Vector values = _mm256_srai_epi32(entries, 24);
    const __m128i packed =
        _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
  }

  // Gives the next words to the states that need one; returns how many do.
  SOFTPACK_INLINE uint32_t Refill(Vector* states, const uint8_t* next) {
    const Vector low = _mm256_cmpeq_epi32(_mm256_srli_epi32(*states, 16), _mm256_setzero_si256());
    const uint32_t lanes = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
    const Vector words =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(next)));
    const Vector packed = _mm256_set1_epi32(static_cast<int>(kLaneOrders.of[lanes]));
    const Vector order = _mm256_srlv_epi32(packed, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const Vector given = _mm256_permutevar8x32_epi32(words, order);
    const Vector refilled = _mm256_or_si256(_mm256_slli_epi32(*states, 16), given);
    *states = _mm256_blendv_epi8(*states, refilled, low);
    return static_cast<uint32_t>(__builtin_popcount(lanes));
  }
};
